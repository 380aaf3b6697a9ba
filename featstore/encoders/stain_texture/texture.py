"""Local binary patterns, grey-level co-occurrence and orientation, at three scales."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from featstore.encoders.base import Floats, require
from featstore.encoders.stain_texture.view import Mask, View

__all__ = ["describe_texture"]

LEVELS = 3
"""Working size, a half and a quarter of it."""

TONES = 16
ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
DISTANCES_PX = (1, 3)
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
PATTERN_STEP = 6.0
"""Grey levels that count as equal in a local binary pattern, so that noise does not make patterns of flat areas."""


def describe_texture(view: View) -> dict[str, float]:
    """Describe the texture of haematoxylin and of darkness over all that is not fill.

    Local binary patterns are the rotation-invariant uniform ones of Ojala et al. (2002,
    doi:10.1109/TPAMI.2002.1017623); co-occurrence follows Haralick et al. (1973, doi:10.1109/TSMC.1973.4309314), the
    mean over four angles, because it means nothing how the slide lay.
    """
    described: dict[str, float] = {}
    darkness = np.asarray(1.0 - view.rgb.mean(axis=2), np.float32)
    for level, stain, seen in _pyramid(view.stains[..., 0], view.seen):
        described |= _patterns(stain, seen, 8, 1, f"patterns_{level}")
        described |= _cooccurrence(stain, seen, f"haematoxylin_{level}")
        described |= _orientation(stain, seen, f"orientation_{level}")
        if level == 2 ** (LEVELS - 1):
            described |= _patterns(stain, seen, 16, 2, f"wide_patterns_{level}")
    for level, dark, seen in _pyramid(darkness, view.seen):
        described |= _cooccurrence(dark, seen, f"darkness_{level}")
    return described


def _pyramid(image: Floats, seen: Mask) -> Iterator[tuple[int, Floats, Mask]]:
    """Yield (factor, image, mask) at each level; what is not seen takes the tone of what is seen near it."""
    import cv2

    # Sides that halve evenly: otherwise how much a level is smoothed would depend on the size of the crop.
    rest = [(0, -length % 2 ** (LEVELS - 1)) for length in seen.shape]
    share = np.pad(seen.astype(np.float32), rest)
    image = np.pad(image, rest) * share
    for level in range(LEVELS):
        if level:
            size = (image.shape[1] // 2, image.shape[0] // 2)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
            share = np.asarray(cv2.resize(share, size, interpolation=cv2.INTER_AREA), np.float32)
        mask = np.asarray(share > 0.5)
        yield 2**level, _extend(image, share, mask), mask


def _extend(image: Floats, share: Floats, mask: Mask) -> Floats:
    """Divide by the share that was seen, and continue the edge smoothly outwards: the fill must not draw an edge."""
    import cv2

    around = cv2.GaussianBlur(image, (0, 0), 2.0) / np.maximum(cv2.GaussianBlur(share, (0, 0), 2.0), 1e-3)
    return np.asarray(np.where(mask, image / np.maximum(share, 0.5), np.minimum(around, 1.0)), np.float32)


def _patterns(image: Floats, seen: Mask, points: int, radius: int, name: str) -> dict[str, float]:
    feature: Any = require("skimage.feature")
    coarse = np.rint(image * (255.0 / PATTERN_STEP)).astype(np.uint8)
    codes = feature.local_binary_pattern(coarse, points, radius, "uniform")[seen].astype(np.int64)
    counts = np.bincount(codes, minlength=points + 2)
    # The square root of a share spreads the rare patterns, and is how histograms are compared (Hellinger).
    shares = np.sqrt(counts / max(1, len(codes)))
    return {f"{name}_{index}": float(share) for index, share in enumerate(shares)}


def _cooccurrence(image: Floats, seen: Mask, name: str) -> dict[str, float]:
    feature: Any = require("skimage.feature")
    # Tone 0 stands for the fill; its row and column are dropped before anything is computed.
    tones = np.where(seen, 1 + np.minimum(image * TONES, TONES - 1).astype(np.uint8), 0).astype(np.uint8)
    pairs = feature.graycomatrix(tones, DISTANCES_PX, ANGLES, levels=TONES + 1, symmetric=True)[1:, 1:].astype(
        np.float64
    )
    pairs /= np.maximum(pairs.sum(axis=(0, 1)), 1.0)
    described = {}
    for prop in PROPERTIES:
        values = feature.graycoprops(pairs, prop)
        for row, distance in enumerate(DISTANCES_PX):
            value = values[row] / (TONES if prop in ("contrast", "dissimilarity") else 1)
            described[f"{name}_{prop}_{distance}"] = float(value.mean())
    return described


def _orientation(image: Floats, seen: Mask, name: str) -> dict[str, float]:
    """Strength of edges, and how far they agree on a direction nearby (structure tensor, Bigun and Granlund 1987)."""
    import cv2

    across = cv2.Sobel(image, cv2.CV_32F, 1, 0, scale=0.25)
    down = cv2.Sobel(image, cv2.CV_32F, 0, 1, scale=0.25)
    xx, yy, xy = (cv2.GaussianBlur(product, (0, 0), 3.0) for product in (across**2, down**2, across * down))
    energy = (xx + yy)[seen]
    if len(energy) == 0:
        return {f"{name}_energy": 0.0, f"{name}_coherence": 0.0}
    aligned = np.sqrt((xx - yy) ** 2 + 4 * xy**2)[seen]
    return {
        f"{name}_energy": float(np.sqrt(energy.mean())),
        f"{name}_coherence": float(aligned.mean() / (energy.mean() + 1e-4)),
    }
