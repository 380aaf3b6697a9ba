"""Where crops are taken from: each blob itself, wider squares around it, and tiles of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops.blobs import Blob, Blobs, Box
from featstore.crops.cut import cut_square, grow_box, square_around
from featstore.errors import SettingError
from featstore.recipe import OBJECT, TILE, CropSettings

__all__ = ["Place", "cut_place", "find_places", "own_tissue"]

LARGEST_TILE_PX = 16384
"""Pixels of an image along the side of a tile."""

MOST_ENLARGED = 4
"""Tiles of an image that is coarser than this would show what is not there, and be as many as its pixels."""

Square = tuple[int, int, int]
"""Side, and how far the window lies from its left and its top edge."""


@dataclass(frozen=True)
class Place:
    """Where one crop is taken from.

    Attributes
    ----------
    number : int
        The crop's own: what keys call its blob.
    parent : int
        Number of the blob that it belongs to.
    scale : int
        `OBJECT` for the blob itself, `TILE` for a tile of it, else by how much wider the square around it is.
    area_px : int
        Pixels of the blob in it.
    box : tuple of 4 ints
        Of the blob itself, its bounding box; of others the part of the image that is shown. Half-open.
    window : tuple of 4 ints
        The part of the image that is shown, half-open.
    square : tuple of 3 ints
        In which square the window lies, and where.
    size_px : int
        Side that the square is brought to; its own for all but tiles of a given resolution.
    """

    number: int
    parent: int
    scale: int
    area_px: int
    box: Box
    window: Box
    square: Square
    size_px: int

    @property
    def row(self) -> tuple[int, ...]:
        """What a store keeps of it: number, area_px, x0, y0, x1, y1, scale, parent."""
        return (self.number, self.area_px, *self.box, self.scale, self.parent)


def find_places(blobs: Blobs, settings: CropSettings, mpp: float | None = None) -> tuple[Place, ...]:
    """List the crops of an image in the order of their numbers.

    First the blobs, 0 to k-1. Then k crops of each further scale in turn, in the order of the blobs; then the tiles of
    the first blob, of the second, and so on, by rows. So scales that are added at the end change no earlier number.

    Parameters
    ----------
    blobs : Blobs
    settings : CropSettings
    mpp : float, optional
        Micrometres a pixel of the image, where tiles have a resolution.

    Returns
    -------
    tuple of Place

    Raises
    ------
    SettingError
        If tiles have a resolution and the image's is not known.
    """
    height_px, width_px = blobs.tissue.shape
    places = []
    for scale, blob in itertools.product(settings.scales, blobs.blobs):
        grown = grow_box(blob.box, settings.margin, width_px, height_px)
        window = grown if scale == OBJECT else _wider(grown, scale, width_px, height_px)
        box = blob.box if scale == OBJECT else window
        square = square_around(window)
        places.append(Place(0, blob.index, scale, blob.area_px, box, window, square, square[0]))
    if settings.tile_px:
        side_px = _tile_side(settings, mpp)
        for blob in blobs.blobs:
            places += _tiles(blobs, blob, side_px, settings)
    return tuple(replace(place, number=number) for number, place in enumerate(places))


def cut_place(image: NDArray[np.uint8], blobs: Blobs, place: Place, settings: CropSettings) -> NDArray[np.uint8]:
    """Cut one crop.

    Of a blob itself all that is not tissue has the fill colour. Wider squares and tiles show the pixels that are there:
    only what lies outside the image has the fill colour, and what was pasted or drawn on it and is to be subtracted.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    blobs : Blobs
        Those of the image.
    place : Place
        One of `find_places`.
    settings : CropSettings

    Returns
    -------
    ndarray of shape (side, side, 3), uint8, RGB
    """
    shown = blobs.tissue if place.scale == OBJECT else None if blobs.foreign is None else ~blobs.foreign
    crop = cut_square(image, place.window, place.square, settings.fill, shown)
    if place.size_px == len(crop):
        return crop
    how = cv2.INTER_AREA if place.size_px < len(crop) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, (place.size_px, place.size_px), interpolation=how), dtype=np.uint8)


def own_tissue(blobs: Blobs, blob: Blob) -> NDArray[np.bool_]:
    """Tell which pixels of a blob's bounding box are its own; all tissue there, for a whole mask taken as one."""
    x0, y0, x1, y1 = blob.box
    window = blobs.tissue[y0:y1, x0:x1]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(window.astype(np.uint8), connectivity=8)
    # Other objects reach into the box, but none of them has both its size and its area.
    own = [n for n, row in enumerate(stats) if n and tuple(row[2:]) == (x1 - x0, y1 - y0, blob.area_px)]
    return np.isin(labels, own) if own else window


def _wider(grown: Box, scale: int, width_px: int, height_px: int) -> Box:
    """Return what the image has of a square ``scale`` times as wide as the blob's own, about the same centre."""
    x0, y0, x1, y1 = grown
    side = scale * max(x1 - x0, y1 - y0)
    left, top = (x0 + x1 - side) // 2, (y0 + y1 - side) // 2
    return _clipped((left, top, left + side, top + side), width_px, height_px)


def _tile_side(settings: CropSettings, mpp: float | None) -> int:
    """Tell how many pixels of the image a tile is wide."""
    if not settings.mpp:
        return settings.tile_px
    if not mpp:
        raise SettingError(
            "an image whose resolution is not known, for tiles of a given one",
            expected="micrometres a pixel, in the column mpp of a CSV",
        )
    side_px, least_px = settings.tile_px * settings.mpp / mpp, settings.tile_px / MOST_ENLARGED
    if not least_px <= side_px <= LARGEST_TILE_PX:
        raise SettingError(
            f"tiles of {settings.tile_px} px at {settings.mpp} µm are {side_px:.4g} px of an image of {mpp} µm a pixel",
            expected=f"{least_px:g} to {LARGEST_TILE_PX} px: is the image's resolution right?",
        )
    return round(side_px)


def _tiles(blobs: Blobs, blob: Blob, side_px: int, settings: CropSettings) -> list[Place]:
    """Lay a grid over a blob, and keep the tiles with enough of it; if none has, the one that has most."""
    height_px, width_px = blobs.tissue.shape
    own, (x0, y0, _, _) = own_tissue(blobs, blob), blob.box
    found = []
    for top, left in itertools.product(*_grid(blob.box, side_px, blobs.tissue.shape)):
        window = _clipped((left, top, left + side_px, top + side_px), width_px, height_px)
        square = (side_px, window[0] - left, window[1] - top)
        area = int(np.count_nonzero(own[_cut(window, 1, y0), _cut(window, 0, x0)]))
        found.append(Place(0, blob.index, TILE, area, window, window, square, settings.tile_px))
    enough = [place for place in found if place.area_px >= max(1, settings.tile_tissue * side_px**2)]
    return enough or [max(found, key=lambda place: place.area_px)]


def _grid(box: Box, side_px: int, shape: tuple[int, ...]) -> tuple[range, range]:
    """Return the top and left edges of a grid with the box in its middle, within the image where that has room."""
    x0, y0, x1, y1 = box
    return _steps(y0, y1, side_px, shape[0]), _steps(x0, x1, side_px, shape[1])


def _steps(start: int, stop: int, side_px: int, most: int) -> range:
    length = -(-(stop - start) // side_px) * side_px
    first = start - (length - (stop - start)) // 2
    if length <= most:
        first = min(max(first, 0), most - length)
    return range(first, first + length, side_px)


def _cut(window: Box, axis: int, first: int) -> slice:
    """Return the window's extent along x (0) or y (1), counted from ``first``."""
    return slice(max(window[axis] - first, 0), max(window[axis + 2] - first, 0))


def _clipped(box: Box, width_px: int, height_px: int) -> Box:
    x0, y0, x1, y1 = box
    return max(x0, 0), max(y0, 0), min(x1, width_px), min(y1, height_px)
