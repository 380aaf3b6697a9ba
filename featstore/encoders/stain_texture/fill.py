"""Finding what a crop shows outside its mask: one flat colour that was mid-grey before augmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featstore.encoders.base import Pixels

__all__ = ["Mask", "find_fill"]

Mask = NDArray[np.bool_]

GREY = 128
REACH = 44
"""Grey levels around mid-grey within which the fill is looked for: jitter and stain perturbation move it by 38 at most
in 99 of 100 repeats."""

FLAT_SIGMA_PX = 1.2
FLAT_WINDOW = 5
FLAT_RANGE = 9
"""The fill is flat: smoothed, noise of sigma 0.03 leaves about 1.5 grey levels of it."""

TIGHT = 5
LOOSE = 9
"""Distances from the fill's colour: where it is flat, and at its edge."""

PEAKED = 0.75
"""Of the flat pixels within ``2 * TIGHT`` of one colour, the share within ``TIGHT``: nearly 1 for a fill, about 1/8 for
tissue, whose colours spread evenly."""

BIN = 8
SAMPLE = 8192


def find_fill(pixels: Pixels) -> Mask:
    """Find the fill of a crop.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, 3), uint8
        Lightly smoothed.

    Returns
    -------
    ndarray of shape (h, w), bool
        The fill, and one pixel more all around, because those are a mixture of fill and tissue. Empty when there is
        none: tissue may be grey, but not all of one grey.
    """
    import cv2

    smooth = np.asarray(cv2.GaussianBlur(pixels, (0, 0), FLAT_SIGMA_PX), np.uint8)
    window = np.ones((FLAT_WINDOW, FLAT_WINDOW), np.uint8)
    spread = np.asarray(cv2.dilate(smooth, window) - cv2.erode(smooth, window), np.uint8)
    flat = cv2.inRange(spread, (0, 0, 0), (FLAT_RANGE,) * 3) > 0
    fill = np.zeros(flat.shape, np.bool_)
    # Random erasing comes after the jitter: what it leaves is mid-grey beside a fill that no longer is.
    for colour in (_peak(smooth, flat), np.full(3, GREY)):
        if colour is not None and _is_peaked(smooth, flat, colour):
            core = cv2.dilate((flat & _near(smooth, colour, TIGHT)).astype(np.uint8), window) > 0
            fill |= (core & _near(pixels, colour, LOOSE)) | _near(smooth, colour, TIGHT)
    return np.asarray(cv2.dilate(fill.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _peak(smooth: Pixels, flat: Mask) -> NDArray[np.int64] | None:
    """Return the commonest colour among flat pixels near mid-grey, or None if there are none."""
    near = smooth[flat & _near(smooth, np.full(3, GREY), REACH)].astype(np.int64)
    if len(near) == 0:
        return None
    near = near[:: 1 + len(near) // SAMPLE]
    bins = near // BIN
    code = np.bincount((bins[:, 0] * 64 + bins[:, 1]) * 64 + bins[:, 2]).argmax()
    commonest = np.array([code // 4096, code // 64 % 64, code % 64]) * BIN + BIN // 2
    around = near[(np.abs(near - commonest) <= BIN).all(axis=1)]
    return np.asarray(np.rint(np.median(around, axis=0)), np.int64)


def _is_peaked(smooth: Pixels, flat: Mask, colour: NDArray[np.int64]) -> bool:
    around = int((flat & _near(smooth, colour, 2 * TIGHT)).sum())
    return around > 0 and int((flat & _near(smooth, colour, TIGHT)).sum()) >= PEAKED * around


def _near(image: Pixels, colour: NDArray[np.int64], reach: int) -> Mask:
    """Where every channel is within ``reach`` of ``colour``."""
    import cv2

    lowest, highest = (tuple(float(level) for level in colour + step) for step in (-reach, reach))
    return np.asarray(cv2.inRange(image, lowest, highest) > 0)
