"""From crops back to the image: outlines of blobs, and maps of crops laid over the whole."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops import Blob, Blobs, Box
from featstore.crops.cut import grow_box, square_around
from featstore.crops.places import own_tissue
from featstore.explain.explanation import Heatmap

__all__ = ["lay_over", "outline_of"]


def lay_over(maps: NDArray[np.float32], boxes: Sequence[Box], margin: float, shape: tuple[int, int]) -> Heatmap:
    """Lay a map of each crop over the image: the way of a crop to the encoder's input, backwards.

    A map covers the square crop: it is brought to the crop's side, what lies on the square's padding is cut off, and
    the rest goes where the blob's grown box is. Where boxes overlap, the larger value holds.

    Parameters
    ----------
    maps : ndarray of shape (n, side, side), float32
    boxes : sequence of Box
        Of the blobs, as they were found.
    margin : float
        By which the boxes were grown.
    shape : tuple of 2 ints
        Height and width of the image.

    Returns
    -------
    ndarray of shape ``shape``, float32
        0 outside all crops.
    """
    height_px, width_px = shape
    heat = np.zeros(shape, dtype=np.float32)
    for each, box in zip(maps, boxes, strict=True):
        grown = grow_box(box, margin, width_px, height_px)
        side, left, top = square_around(grown)
        x0, y0, x1, y1 = grown
        whole = cv2.resize(each, (side, side), interpolation=cv2.INTER_LINEAR)
        window = whole[top : top + y1 - y0, left : left + x1 - x0]
        heat[y0:y1, x0:x1] = np.maximum(heat[y0:y1, x0:x1], window)
    return heat


def outline_of(blobs: Blobs, blob: Blob) -> tuple[NDArray[np.int32], ...]:
    """Trace a blob: its outer curves, as (x, y) in pixels of the image; several for a whole mask taken as one."""
    x0, y0, _, _ = blob.box
    window = own_tissue(blobs, blob).astype(np.uint8)
    curves, _ = cv2.findContours(window, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(np.asarray(curve[:, 0] + (x0, y0), dtype=np.int32) for curve in curves)
