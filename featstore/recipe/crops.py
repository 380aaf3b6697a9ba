"""How a mask becomes blobs, and a blob crops."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from featstore.canonical import different_wholes, is_number, is_whole, later, require

__all__ = ["OBJECT", "TILE", "Changes", "Colour", "CropSettings"]

Colour = tuple[float, float, float]
Changes = tuple[tuple[str, tuple[float, ...]], ...]
"""Thresholds that are not the default, by rising name: of each its value, or its values."""

OBJECT, TILE = 1, 0
"""Scales with a meaning of their own: the object itself, and a tile of it."""

MOST_SCALE = 16
LEAST_TILE_PX, MOST_TILE_PX = 16, 4096


@dataclass(frozen=True)
class CropSettings:
    """How a mask becomes blobs and a blob becomes a square crop.

    Attributes
    ----------
    max_blobs : int
        At most this many blobs an image, the largest first.
    min_area_px : int
        Smaller blobs are left out, in pixels of the image.
    margin : float
        The bounding box grows by this share of its width and height on every side.
    fill : tuple of 3 floats
        Colour of everything outside the tissue, RGB from 0 to 1.
    version : int
        Rises when the same settings would give other pixels.
    masks : {"checked", "given"}
        Whether a mask is measured, and cleaned or replaced where it is poor, or taken as it is.
    artefacts : {"exclude", "subtract", "keep"}
        Whether a contaminated training image is left out; or what was pasted or drawn on is taken off the tissue of any
        image, where enough remains; or neither.
    scales : tuple of int
        Crops of each blob: 1, the blob itself, and by how much wider squares around it are, rising.
    tile_px : int
        Side of the tiles that blobs are cut into besides, as they reach the encoder; 0 for none.
    tile_tissue : float
        Tiles are kept of which at least this share is tissue of their blob.
    mpp : float
        Micrometres a pixel of the tiles; 0 for the image's own pixels.
    limits : tuple of (str, tuple of float)
        Thresholds for masks and artefacts that are not the default; see `featstore.dataset.Limits`.
    """

    max_blobs: int = 10
    min_area_px: int = 100
    margin: float = 0.1
    fill: Colour = (0.5, 0.5, 0.5)
    version: int = 2
    masks: str = later("checked")
    artefacts: str = later("exclude")
    scales: tuple[int, ...] = later((OBJECT,))
    tile_px: int = later(0)
    tile_tissue: float = later(0.25)
    mpp: float = later(0.0)
    limits: Changes = later(())  # noqa: RUF009 - it is a tuple

    def __post_init__(self) -> None:
        require(self.max_blobs >= 1, f"max_blobs is {self.max_blobs}", "1 or more")
        require(self.min_area_px >= 1, f"min_area_px is {self.min_area_px}", "1 pixel or more")
        require(0 <= self.margin <= 10, f"margin is {self.margin}", "a share from 0 to 10")
        ok = len(self.fill) == 3 and all(0 <= value <= 1 for value in self.fill)
        require(ok, f"fill is {self.fill}", "three numbers from 0 to 1 (red, green, blue)")
        known = ("exclude", "subtract", "keep")
        require(self.artefacts in known, f"artefacts is {self.artefacts!r}", "exclude, subtract or keep")
        require(self.masks in ("checked", "given"), f"masks is {self.masks!r}", "checked or given")
        names = [name for name, _ in self.limits]
        require(names == sorted(set(names)), f"limits are of {names}", "each name once, in order")
        self._require_scales()

    def _require_scales(self) -> None:
        scales = different_wholes(self.scales)
        ok = scales[:1] == (OBJECT,) and scales == tuple(sorted(scales)) and scales[-1] <= MOST_SCALE
        require(ok, f"scales are {self.scales}", f"1 and then larger whole numbers up to {MOST_SCALE}, such as 1, 2, 4")
        known = is_whole(self.tile_px, 0) and (self.tile_px == 0 or LEAST_TILE_PX <= self.tile_px <= MOST_TILE_PX)
        require(known, f"tile_px is {self.tile_px}", f"{LEAST_TILE_PX} to {MOST_TILE_PX} pixels, or 0 for no tiles")
        share = is_number(self.tile_tissue, 0, inf) and self.tile_tissue <= 1
        require(share, f"tile_tissue is {self.tile_tissue}", "a share from 0 to 1")
        known = is_number(self.mpp, 0, 1000)
        require(known, f"mpp is {self.mpp}", "micrometres a pixel, above 0, or 0 for the image's own")
        # One setting has one form, and so one fingerprint: 1 is 1.0, a list is a tuple.
        plain = {"scales": scales, "tile_px": int(self.tile_px)}
        for name, value in {**plain, "tile_tissue": float(self.tile_tissue), "mpp": float(self.mpp)}.items():
            object.__setattr__(self, name, value)
        of_tiles = (self.tile_tissue, self.mpp) == (CropSettings.tile_tissue, CropSettings.mpp)
        require(self.tile_px > 0 or of_tiles, "tile_tissue or mpp without tiles", "a tile_px as well")

    @property
    def of_one_scale(self) -> bool:
        """Whether each blob has one crop, the object itself."""
        return self.scales == (OBJECT,) and not self.tile_px
