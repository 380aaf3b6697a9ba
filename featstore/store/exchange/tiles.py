"""Tiles of a slide: how large they are, and their boxes in pixels, as far as a file's attributes tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError

__all__ = ["Tiling", "number_in", "tiling_of"]

_LARGEST_SIDE_PX = 46340  # its square is the largest area that an int32 holds
_LIMIT_PX = 2**31 - 1


@dataclass(frozen=True)
class Tiling:
    """How coordinates become boxes.

    Attributes
    ----------
    side_px : int
        Side of a tile in pixels of the slide, 0 where it isn't known: there are no boxes then.
    scale : float
        Pixels for one unit of the coordinates.
    facts : dict
        What all slides of one extraction share, for the recipe.
    """

    side_px: int = 0
    scale: float = 1.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def boxes(self, blobs: NDArray[np.int32], coords: NDArray[Any], path: Path) -> NDArray[np.int32] | None:
        """Make boxes (n, 6) of number, area_px, x0, y0, x1, y1 from upper left corners (n, 2)."""
        if not self.side_px:
            return None
        corners = np.rint(coords.astype(np.float64) * self.scale)
        if not (np.abs(corners) < _LIMIT_PX - self.side_px).all():  # also where it is not a number
            raise DataError(f"{path}: coords hold what can't be a pixel", expected=f"numbers below {_LIMIT_PX}")
        x0, y0 = corners.astype(np.int32).T
        area = np.full(len(blobs), self.side_px**2, dtype=np.int32)
        return np.column_stack([blobs, area, x0, y0, x0 + self.side_px, y0 + self.side_px]).astype(np.int32)


def tiling_of(of_file: Mapping[str, Any], of_coords: Mapping[str, Any], tile_px: int | None, path: Path) -> Tiling:
    """Read the attributes of TRIDENT, CLAM and STAMP.

    TRIDENT and CLAM give corners in pixels of level 0, where a tile of ``patch_size`` may be larger. STAMP gives
    micrometres: their pixels are those that the tiles were resampled to.
    """
    tile_um = number_in(of_file, "tile_size_um") or (number_in(of_file, "tile_size") if _in_um(of_file) else None)
    patch_px = number_in(of_coords, "patch_size")
    if tile_um or _in_um(of_file):
        tiling = _stamp(tile_um, number_in(of_file, "tile_size_px") or tile_px)
    elif patch_px and number_in(of_coords, "target_magnification"):
        facts = {"tile_px": patch_px, "magnification": number_in(of_coords, "target_magnification")}
        overlap = number_in(of_coords, "overlap")
        facts |= {} if overlap is None else {"overlap_px": overlap}
        tiling = Tiling(int(number_in(of_coords, "patch_size_level0") or tile_px or 0), facts=facts)
    elif patch_px:
        tiling = _clam(of_coords, patch_px, tile_px)
    else:
        tiling = Tiling(tile_px or 0)
    if tiling.side_px > _LARGEST_SIDE_PX:
        raise DataError(f"{path}: tiles of {tiling.side_px} px", expected=f"at most {_LARGEST_SIDE_PX}")
    return tiling


def number_in(attributes: Mapping[str, Any], name: str) -> int | float | None:
    """Read a number of 0 or more, the first of several; None where there is none."""
    values = np.ravel(np.asarray(attributes.get(name, "")))
    if values.dtype.kind not in "fiu" or not values.size or not 0 <= values[0] < np.inf:
        return None
    value = float(values[0])
    return int(value) if value.is_integer() else value


def _in_um(of_file: Mapping[str, Any]) -> bool:
    return of_file.get("unit") in {"um", b"um"}


def _stamp(tile_um: float | None, tile_px: float | None) -> Tiling:
    if not tile_um:
        return Tiling()
    if not tile_px:
        return Tiling(facts={"tile_um": tile_um})
    return Tiling(int(tile_px), tile_px / tile_um, {"tile_um": tile_um, "tile_px": tile_px})


def _clam(of_coords: Mapping[str, Any], patch_px: float, tile_px: int | None) -> Tiling:
    """CLAM's own coordinates: the level's downsample is known for level 0, or where it was written down."""
    level = number_in(of_coords, "patch_level")
    downsample = number_in(of_coords, "downsample") or (1 if level == 0 else None)
    custom = number_in(of_coords, "custom_downsample") or 1
    side = tile_px or (patch_px * downsample * custom if downsample else 0)
    facts = {"tile_px": patch_px} | ({} if level is None else {"level": level})
    return Tiling(round(side), facts=facts)
