"""Blob to square crop."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops.blobs import Blob, Blobs, Box
from featstore.recipe import CropSettings
from featstore.recipe.crops import Colour

__all__ = ["cut_crop", "cut_square", "fill_colour", "grow_box", "square_around"]


def fill_colour(fill: Colour) -> NDArray[np.uint8]:
    """Return the fill colour in 8 bits; halves are rounded up, so 0.5 is 128.

    Parameters
    ----------
    fill : tuple of 3 floats
        RGB from 0 to 1.

    Returns
    -------
    ndarray of shape (3,), uint8
    """
    return np.array([_round(255 * value) for value in fill], dtype=np.uint8)


def grow_box(box: Box, margin: float, width_px: int, height_px: int) -> Box:
    """Grow a box by a share of its own width and height on each side, and clip it at the image.

    Parameters
    ----------
    box : tuple of 4 ints
        (x0, y0, x1, y1), half-open.
    margin : float
    width_px, height_px : int
        Size of the image.

    Returns
    -------
    tuple of 4 ints
    """
    x0, y0, x1, y1 = box
    across, down = _round(margin * (x1 - x0)), _round(margin * (y1 - y0))
    return max(x0 - across, 0), max(y0 - down, 0), min(x1 + across, width_px), min(y1 + down, height_px)


def cut_crop(image: NDArray[np.uint8], blobs: Blobs, blob: Blob, settings: CropSettings) -> NDArray[np.uint8]:
    """Cut the square crop of one blob.

    The blob's box, grown and clipped, lies in the middle of a square as wide as its longer side. Everything that is
    not tissue has the fill colour; tissue of other objects within the box stays.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    blobs : Blobs
        Those of the image.
    blob : Blob
        One of them.
    settings : CropSettings

    Returns
    -------
    ndarray of shape (side, side, 3), uint8, RGB
    """
    height_px, width_px = blobs.tissue.shape
    grown = grow_box(blob.box, settings.margin, width_px, height_px)
    return cut_square(image, grown, square_around(grown), settings.fill, blobs.tissue)


def cut_square(
    image: NDArray[np.uint8],
    window: Box,
    square: tuple[int, int, int],
    fill: Colour,
    shown: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Put a window of an image into a square of the fill colour.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    window : tuple of 4 ints
        Within the image.
    square : tuple of 3 ints
        Its side, and how far from its left and top edge the window lies.
    fill : tuple of 3 floats
    shown : ndarray of shape (height, width), bool, optional
        Pixels of the image that are copied; all by default.

    Returns
    -------
    ndarray of shape (side, side, 3), uint8, RGB
    """
    (x0, y0, x1, y1), (side, left, top) = window, square
    crop = np.empty((side, side, 3), dtype=np.uint8)
    crop[0] = fill_colour(fill)
    crop[1:] = crop[0]  # by whole rows, which is fifty times as fast as by pixels
    there = crop[top : top + y1 - y0, left : left + x1 - x0]
    if shown is None:
        there[:] = image[y0:y1, x0:x1]
    else:
        cv2.copyTo(image[y0:y1, x0:x1], shown[y0:y1, x0:x1].view(np.uint8), there)
    return crop


def square_around(box: Box) -> tuple[int, int, int]:
    """Tell the side of the square in whose middle a box lies, and how far from its left and top edge."""
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0)
    return side, (side - (x1 - x0)) // 2, (side - (y1 - y0)) // 2


def _round(value: float) -> int:
    return math.floor(value + 0.5)
