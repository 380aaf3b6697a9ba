"""Fields of a synthetic tissue: where it is, its nests, stroma, lumina and gaps, and which part the mask marks.

Everything is drawn from a ``numpy.random.Generator`` that the caller hands in; nothing here knows of classes or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["Layout", "Traits", "fibres", "make_layout", "noise", "smoothstep", "voronoi"]

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Traits:
    """What is measurable in one image; lengths are in pixels of the image.

    Attributes
    ----------
    radius_px : float
        Mean radius of the nuclei in nests.
    spacing : float
        Least distance of two nuclei in a nest, in sums of their radii; smaller is denser.
    elongation : float
        Mean ratio of a nucleus's axes, 1 or more.
    pleomorphism : float
        Spread of size, darkness and outline from nucleus to nucleus.
    chromatin : float
        Mean darkness of nuclei, as haematoxylin concentration.
    vesicles : float
        How much paler than its rim a nucleus is inside, and how often nucleoli are seen; 0 to 1.
    eosin : float
        Eosin concentration of the nests' cytoplasm.
    lumina : float
        Inclination of nests to open into lumina; 0 to 1.
    lymphocytes : float
        Share of the stroma that lymphocytes crowd; 0 to 1.
    nests : float
        Share of the tissue that is nests; 0 to 1.
    """

    radius_px: float
    spacing: float
    elongation: float
    pleomorphism: float
    chromatin: float
    vesicles: float
    eosin: float
    lumina: float
    lymphocytes: float
    nests: float


@dataclass(frozen=True)
class Layout:
    """Architecture of one tissue; fields are of shape (h, w), float32 from 0 to 1 unless said otherwise.

    Attributes
    ----------
    tissue : Field
        1 on tissue, 0 on glass, with a soft edge and with its gaps cut out.
    silhouette : Field
        The same without the gaps.
    nest : Field
        1 in nests, 0 in stroma.
    lumen : Field
        1 in lumina.
    angle : Field
        Direction of the stroma's fibres, in radians.
    mask : NDArray of uint8
        0 or 255: the nuclei-rich regions.
    """

    tissue: Field
    silhouette: Field
    nest: Field
    lumen: Field
    angle: Field
    mask: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.tissue.shape[0], self.tissue.shape[1]


def noise(rng: Generator, shape: tuple[int, int], *sigmas_px: float) -> Field:
    """Sum of Gaussian-blurred white noises, each coarser one as strong as all finer ones, of mean 0 and deviation 1."""
    total = np.zeros(shape, np.float32)
    for sigma in sigmas_px:
        step = max(1, int(sigma / 3))
        coarse = (shape[0] // step + 8, shape[1] // step + 8)
        white = rng.standard_normal(coarse, dtype=np.float32)
        smooth = cv2.GaussianBlur(white, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
        grown = cv2.resize(smooth, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]
        total += (grown / smooth.std()) * sigma**0.5
    return standardised(total)


def standardised(field: Any) -> Field:
    """Shift and scale a field to mean 0 and deviation 1."""
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def smoothstep(field: Field, low: float, high: float) -> Field:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _blurred(field: Any, sigma_px: float) -> Field:
    return np.asarray(cv2.GaussianBlur(np.asarray(field, np.float32), (0, 0), sigma_px), np.float32)


def voronoi(points_px: NDArray[Any], shape: tuple[int, int]) -> tuple[NDArray[np.int32], Field]:
    """Label each pixel by the nearest point (x, y), and give its distance to it in pixels."""
    seeds = np.full(shape, 255, np.uint8)
    x, y = np.asarray(points_px, int).T
    seeds[np.clip(y, 0, shape[0] - 1), np.clip(x, 0, shape[1] - 1)] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return np.asarray(labels, np.int32), np.asarray(distance, np.float32)


def fibres(rng: Generator, angle: Field, length_px: int) -> Field:
    """Streaks along a field of directions: line integral convolution (Cabral and Leedom, 1993) of white noise."""
    shape = (angle.shape[0], angle.shape[1])
    source = noise(rng, shape, 1.0)
    dx, dy = np.cos(angle), np.sin(angle)
    rows, columns = np.indices(shape, dtype=np.float32)
    total = source.copy()
    for sign in (1.0, -1.0):
        x, y = columns.copy(), rows.copy()
        for _ in range(length_px):
            step_x = cv2.remap(dx, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            step_y = cv2.remap(dy, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            x, y = x + sign * step_x, y + sign * step_y
            total += cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return standardised(total)


def make_layout(rng: Generator, shape: tuple[int, int], traits: Traits) -> Layout:
    """Draw the architecture of one tissue.

    Parameters
    ----------
    rng : Generator
        Source of all random numbers.
    shape : tuple of 2 ints
        Height and width in pixels.
    traits : Traits
        Of which ``nests`` and ``lumina`` are used.
    """
    silhouette = _silhouette(rng, shape)
    inside = silhouette > 0.5
    ground = noise(rng, shape, 26.0, 9.0)
    threshold = float(np.quantile(ground[inside], 1 - traits.nests))
    nest = smoothstep(ground, threshold - 0.10, threshold + 0.10)
    lumen = smoothstep(noise(rng, shape, 7.0, 3.0), 2.35 - 1.2 * traits.lumina, 2.60 - 1.2 * traits.lumina)
    lumen = lumen * smoothstep(ground, threshold + 0.25, threshold + 0.45)
    angle = np.asarray(0.75 * noise(rng, shape, 45.0, 15.0) + rng.uniform(0, np.pi), np.float32)
    gaps = _gaps(rng, shape, nest)
    tissue = np.asarray(silhouette * (1 - gaps), np.float32)
    share = float(rng.uniform(0.20, 0.34))
    return Layout(tissue, silhouette, nest, lumen, angle, _mask(ground, inside, share))


def _silhouette(rng: Generator, shape: tuple[int, int]) -> Field:
    rows, columns = np.indices(shape, dtype=np.float32)
    height, width = shape
    x = (columns / width - 0.5 - rng.uniform(-0.07, 0.07)) / rng.uniform(0.40, 0.50)
    y = (rows / height - 0.5 - rng.uniform(-0.07, 0.07)) / rng.uniform(0.40, 0.50)
    power = rng.uniform(2.0, 3.2)
    round_off = 1 - (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    edge = np.asarray(round_off + 0.085 * noise(rng, shape, 30.0, 8.0) + 0.008 * noise(rng, shape, 1.5), np.float32)
    return smoothstep(edge, -0.012, 0.012)


def _gaps(rng: Generator, shape: tuple[int, int], nest: Field) -> Field:
    """Fat cells in the stroma, which the solvents have emptied: 1 where nothing is."""
    count = int(shape[0] * shape[1] / 420)
    points = rng.uniform(0, 1, (count, 2)) * (shape[1], shape[0])
    labels, _ = voronoi(points, shape)
    walls = np.asarray(labels != np.roll(labels, 1, 0), np.uint8) | np.asarray(
        labels != np.roll(labels, 1, 1), np.uint8
    )
    depth = cv2.distanceTransform(1 - walls, cv2.DIST_L2, 5)
    fat_cells = smoothstep(_blurred(depth, 1.2), 1.0, 1.9)
    fat = smoothstep(noise(rng, shape, 30.0), rng.uniform(0.9, 2.6), 3.0) > 0.02
    return np.asarray(fat_cells * fat * (1 - nest), np.float32)


def _mask(ground: Field, inside: NDArray[np.bool_], share: float) -> NDArray[np.uint8]:
    """Mark the ``share`` of the tissue that lies deepest in nests, as at most 6 smooth regions."""
    depth = _blurred(np.where(inside, ground, ground.min()), 7)
    marked = np.asarray((depth > np.quantile(depth[inside], 1 - share)) & inside, np.uint8)
    opened = cv2.morphologyEx(marked, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = [int(index) + 1 for index in np.argsort(-areas, kind="stable")[:6] if areas[index] >= 600]
    return np.asarray(np.isin(labels, largest) * 255, np.uint8)
