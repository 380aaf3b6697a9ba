"""Cytoplasm, stroma and nuclei of a synthetic tissue, and their colours through the Beer-Lambert law."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sample_nuclei import Nuclei, draw_nuclei, epithelium, lymphocytes, stroma_nuclei
from sample_tissue import Field, Layout, Traits, fibres, noise, smoothstep, voronoi

__all__ = ["render"]

# Optical densities of haematoxylin and eosin in red, green and blue: between the vectors of Ruifrok and Johnston
# (2001) and of Macenko et al. (2009).
HAEMATOXYLIN = np.array([0.640, 0.700, 0.315])
EOSIN = np.array([0.140, 0.940, 0.310])

# Concentrations are rounded to these steps: below what an eye sees here, and a third of the size as PNG.
STEPS = np.array([0.08, 0.06])


def render(rng: Generator, layout: Layout, traits: Traits) -> NDArray[np.uint8]:
    """Render one tissue as an RGB image of shape (h, w, 3)."""
    cells = epithelium(rng, layout, traits)
    haematoxylin, eosin = _ground(rng, layout, traits, cells)
    chromatin = noise(rng, layout.shape, 0.9, 1.8)
    for nuclei in (stroma_nuclei(rng, layout), lymphocytes(rng, layout, traits), cells):
        draw_nuclei(haematoxylin, eosin, nuclei, chromatin)
    return _colours(rng, haematoxylin * layout.tissue, eosin * layout.tissue)


def _ground(rng: Generator, layout: Layout, traits: Traits, cells: Nuclei) -> tuple[Field, Field]:
    """Concentrations of haematoxylin and eosin before any nucleus is drawn."""
    shape = layout.shape
    streaks = fibres(rng, layout.angle, 12)
    cleft = rng.normal(-1.9, 0.25)
    bundles = smoothstep(streaks + 0.6 * noise(rng, shape, 12.0), cleft, cleft + 0.9)
    collagen = bundles * (0.52 + 0.09 * streaks + 0.06 * noise(rng, shape, 14.0))
    grain = noise(rng, shape, 1.2, 5.0)
    cytoplasm = traits.eosin * (1 + 0.10 * grain)
    labels, distance = voronoi(np.stack([cells.x, cells.y], 1), shape) if len(cells.x) else _nowhere(shape)
    walls = np.asarray((labels != np.roll(labels, 1, 0)) | (labels != np.roll(labels, 1, 1)), np.float32)
    cytoplasm = cytoplasm * (1 - 0.45 * cv2.GaussianBlur(walls, (0, 0), 0.9))
    cytoplasm = cytoplasm * (1 - 0.5 * smoothstep(distance, 2.2 * traits.radius_px, 4.5 * traits.radius_px))
    haze = 0.20 + 0.06 * grain + 0.05 * noise(rng, shape, 16.0)
    keep = 1 - layout.lumen
    eosin = (layout.nest * cytoplasm + (1 - layout.nest) * collagen) * keep + 0.04 * layout.lumen
    haematoxylin = (layout.nest * haze + (1 - layout.nest) * bundles * 0.07) * keep
    return np.asarray(haematoxylin, np.float32), np.asarray(np.maximum(eosin, 0), np.float32)


def _nowhere(shape: tuple[int, int]) -> tuple[NDArray[np.int32], Field]:
    return np.zeros(shape, np.int32), np.zeros(shape, np.float32)


def _colours(rng: Generator, haematoxylin: Field, eosin: Field) -> NDArray[np.uint8]:
    """Turn concentrations into light: random stain vectors, strengths, focus and scanner white of this one image."""
    vectors = np.stack([HAEMATOXYLIN + rng.normal(0, 0.045, 3), EOSIN + rng.normal(0, 0.035, 3)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.exp(rng.normal(0, 0.16, 2)) * (1.05, 1.0)
    focus = rng.uniform(0.45, 0.85)
    stains = np.stack([cv2.GaussianBlur(field, (0, 0), focus) for field in (haematoxylin, eosin)], -1)
    density = np.tensordot(np.round(stains * strength / STEPS) * STEPS, vectors, 1)
    white = rng.uniform(238, 248) + np.array([rng.uniform(-1, 3), rng.uniform(-4, 0), rng.uniform(-1, 3)])
    return np.asarray(np.clip(np.round(white * np.exp(-density)), 0, 255), np.uint8)
