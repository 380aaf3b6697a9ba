"""Stain normalisation: the colours of an image brought to those of a reference, before it is cropped."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.recipe import StainSettings

__all__ = ["STAINS_KEPT", "normalise_stains"]

Pixels = NDArray[np.uint8]

LIGHT = 240.0
"""Level of light that passed nothing."""

LEAST_DENSITY = 0.15
"""Pixels count whose optical density is at least this: in every channel for Macenko, as there, else on average."""

PADDING_LEVEL = 12
"""Scanners pad with what is this dark in every channel: it has no stain."""

LEAST_STAINED_PX = 1000
LEAST_ANGLE_DEG = 3.0
"""Stains whose directions are nearer than this can't be told apart."""

LEAST_SPREAD = 0.5
"""Standard deviation of a channel of CIELAB below which nothing but noise would be spread."""

EXTREME_PERCENT = 1.0
"""Directions further out than all but this share of the pixels are taken for noise; so are concentrations."""

STAINS_KEPT = "stains as they were"
"""How the note of an image begins whose stains could not be told."""

TOO_LITTLE = f"{STAINS_KEPT}: too little stained tissue to tell them by"
ALIKE = f"{STAINS_KEPT}: they can't be told apart"


def normalise_stains(image: Pixels, settings: StainSettings) -> tuple[Pixels, str]:
    """Bring the stains of an image to the reference of the recipe.

    Of the whole image, so that no crop of it depends on which others there are. An image whose stains can't be told
    stays as it is.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    settings : StainSettings

    Returns
    -------
    image : ndarray of shape (height, width, 3), uint8, RGB
    note : str
        Why it stayed as it was; empty when all is well.
    """
    if settings.method == "none":
        return image, ""
    density = _DENSITIES[image.reshape(-1, 3)]
    by_macenko = settings.method == "macenko"
    stained = (density.min(axis=1) if by_macenko else density.mean(axis=1)) >= LEAST_DENSITY
    padding = image.reshape(-1, 3).max(axis=1) <= PADDING_LEVEL
    stained &= ~padding
    if np.count_nonzero(stained) < LEAST_STAINED_PX:
        return image, TOO_LITTLE
    if by_macenko:
        changed = _macenko(image, density, stained, ~padding, settings.reference)
    else:
        changed = _reinhard(image, density, stained, settings.reference)
    return (image, ALIKE) if changed is None else (changed, "")


_DENSITIES = -np.log((np.arange(256) + 1) / LIGHT)


def _macenko(
    image: Pixels,
    density: NDArray[np.float64],
    stained: NDArray[np.bool_],
    scanned: NDArray[np.bool_],
    reference: tuple[float, ...],
) -> Pixels | None:
    """Macenko et al. (2009, doi:10.1109/ISBI.2009.5193250): concentrations of two stains, mixed by the reference's."""
    vectors = _stain_vectors(density[stained])
    if vectors is None:
        return None
    concentrations = density @ np.linalg.pinv(vectors)
    most = np.percentile(concentrations[scanned], 100 - EXTREME_PERCENT, axis=0)
    if (most < LEAST_DENSITY).any():
        return None
    target, strongest = np.reshape(reference[:6], (2, 3)), np.array(reference[6:])
    concentrations *= strongest / most
    levels = LIGHT * np.exp(-(concentrations @ target))
    return np.asarray(np.clip(levels, 0, 255), dtype=np.uint8).reshape(image.shape)


def _stain_vectors(density: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Find the directions of haematoxylin and eosin, (2, 3); None where there is only one direction."""
    _, directions = np.linalg.eigh(np.cov(density.T))
    plane = directions[:, 1:]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)  # which sign it has is the library's choice
    along, across = (density @ plane[:, [1, 0]]).T
    low, high = np.percentile(np.arctan2(across, along), [EXTREME_PERCENT, 100 - EXTREME_PERCENT])
    if high - low < np.radians(LEAST_ANGLE_DEG):
        return None
    ends = np.stack([plane[:, 1] * np.cos(angle) + plane[:, 0] * np.sin(angle) for angle in (low, high)])
    return ends if ends[0, 0] > ends[1, 0] else ends[::-1]  # haematoxylin takes more of the red


def _reinhard(
    image: Pixels, density: NDArray[np.float64], stained: NDArray[np.bool_], reference: tuple[float, ...]
) -> Pixels | None:
    """Reinhard et al. (2001, doi:10.1109/38.946629): mean and spread of each channel of CIELAB, of stained pixels.

    What is hardly stained changes in part, and glass stays white.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    inside = lab.reshape(-1, 3)[stained]
    mean, spread = inside.mean(axis=0, dtype=np.float64), inside.std(axis=0, dtype=np.float64)
    if spread[0] < LEAST_SPREAD:
        return None
    target, wanted = np.array(reference[:3]), np.array(reference[3:])
    factors = wanted / np.maximum(spread, LEAST_SPREAD)
    share = np.clip(density.mean(axis=1) / LEAST_DENSITY, 0, 1).reshape(*image.shape[:2], 1)
    moved = (lab + share * (lab * (factors - 1) + (target - mean * factors))).astype(np.float32)
    levels = cv2.cvtColor(moved, cv2.COLOR_Lab2RGB) * np.float32(255)
    return np.asarray(np.clip(np.rint(levels), 0, 255), dtype=np.uint8)
