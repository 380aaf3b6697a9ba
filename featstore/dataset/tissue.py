"""Tissue found on the image itself, for images whose mask is missing or empty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.opencv import opencv

__all__ = ["find_tissue", "is_blank"]

GLASS_SHARE = 0.8
"""Glass is at least this bright in its darkest channel, as a share of the brightest glass of the image."""
GLASS_FLOOR = 160
"""No pixel darker than this in any channel is glass; keeps images that are all tissue from being split in two."""
GLASS_CHROMA = 24
"""Glass is neutral: its channels differ by less than this. Pale eosin is as bright as glass but never neutral."""
BLACK_CEILING = 40
"""Nothing darker than this in all channels is tissue: scanners pad with black, and nuclei keep some blue."""
FLAT_LEVELS = 1.5
"""An image without glass whose channels vary by less than this (standard deviation) shows nothing."""
BLANK_LEVELS = 24
"""Glass varies by less than this from its darkest to its brightest hundredth, when it is smoothed: light falls off."""


def find_tissue(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell tissue from glass by an absolute criterion: glass is bright and neutral.

    Stains absorb, and every stain absorbs some colour more than another; so a pixel is glass when even its darkest
    channel is nearly as bright as the image's white and its channels agree. Otsu's threshold is not used here:
    on a field without glass it would cut the tissue in two wherever nuclei are dense. A field on purple-tinted
    glass without any neutral pixel counts as all tissue. The result is smoothed on the scale of 1% of the short side.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB

    Returns
    -------
    ndarray of shape (height, width), bool
        True on tissue; all False on a blank image, of whatever colour.
    """
    cv2, side_px = opencv(), min(image.shape[:2])
    smooth = np.asarray(cv2.GaussianBlur(image, (0, 0), max(side_px / 512, 0.5)), dtype=np.uint8)
    darkest, brightest = smooth.min(axis=2), smooth.max(axis=2)
    # The 99th percentile and not the maximum: specular dust is brighter than glass.
    glass_level = max(GLASS_FLOOR, GLASS_SHARE * float(np.percentile(darkest, 99)))
    glass = (darkest >= glass_level) & (brightest - darkest < GLASS_CHROMA)
    tissue = _tidy(~glass & (brightest > BLACK_CEILING), max(3, side_px // 128 | 1))
    if tissue.all() and smooth.std(axis=(0, 1)).max() < FLAT_LEVELS:
        return np.zeros_like(tissue)
    return tissue


def is_blank(image: NDArray[np.uint8]) -> bool:
    """Whether an image shows nothing: whatever its colour, it varies by no more than dust and noise on glass do."""
    cv2, side_px = opencv(), min(image.shape[:2])
    smooth = cv2.GaussianBlur(image, (0, 0), max(side_px / 128, 0.5))
    low, high = np.percentile(smooth, (1, 99), axis=(0, 1))
    return bool((high - low).max() < BLANK_LEVELS)


def _tidy(tissue: NDArray[np.bool_], kernel_px: int) -> NDArray[np.bool_]:
    """Close gaps and remove specks narrower than ``kernel_px``."""
    cv2 = opencv()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px))
    closed = cv2.morphologyEx(tissue.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel), dtype=np.bool_)
