"""What was computed: cropping, augmentation, encoder, seed; as canonical JSON, and its fingerprint.

A recipe holds *what* is computed and nothing of *how* (device, precision, batch size, workers, library versions):
two runs with one fingerprint may share a store, two with different ones never do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, Self

from featstore.canonical import (
    canonical_json,
    differences,
    different_wholes,
    fingerprint,
    is_number,
    is_whole,
    later,
    plain_of,
    read_as,
    require,
)

__all__ = [
    "AugmentationSettings",
    "CropSettings",
    "EncoderSettings",
    "OBJECT",
    "Recipe",
    "STAIN_REFERENCES",
    "StainSettings",
    "TILE",
    "canonical_json",
    "differences",
    "fingerprint",
    "later",
]

Colour = tuple[float, float, float]
Range = tuple[float, float]
Changes = tuple[tuple[str, tuple[float, ...]], ...]
"""Thresholds that are not the default, by rising name: of each its value, or its values."""

OBJECT, TILE = 1, 0
"""Scales with a meaning of their own: the object itself, and a tile of it."""

_SIGNED = frozenset({"stain_alpha", "stain_beta"})

MOST_SCALE = 16
LEAST_TILE_PX, MOST_TILE_PX = 16, 4096


STAIN_REFERENCES: dict[str, tuple[float, ...]] = {
    "macenko": (0.5626, 0.7201, 0.4062, 0.2159, 0.8012, 0.5581, 1.9705, 1.0308),
    "reinhard": (51.6, 43.3, -9.7, 11.4, 8.1, 4.5),
}
"""Macenko's is that of the method's first implementation, which others took over; Reinhard's the median of twelve
fields of two slides, one of them of the TCGA."""


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


@dataclass(frozen=True)
class StainSettings:
    """To which colours an image is brought before it is cropped.

    Attributes
    ----------
    method : {"none", "macenko", "reinhard"}
    reference : tuple of float
        What images are brought to. For Macenko the optical densities (red, green, blue) of haematoxylin and of eosin,
        and the 99th percentile of the concentration of each; for Reinhard the means of L, a and b of stained pixels,
        and their standard deviations. Usually one of `STAIN_REFERENCES`.
    version : int
        Rises when the same settings would give other pixels.
    """

    method: str = "none"
    reference: tuple[float, ...] = ()
    version: int = 1

    def __post_init__(self) -> None:
        known = {"none": (), **STAIN_REFERENCES}
        require(self.method in known, f"stain method is {self.method!r}", f"one of {', '.join(known)}")
        wanted = len(known[self.method])
        ok = len(self.reference) == wanted and all(abs(value) < 1000 for value in self.reference)
        require(ok, f"the reference of {self.method} is {self.reference}", f"{wanted} numbers")

    @classmethod
    def to(cls, method: str) -> Self:
        """Return a method with the reference that it comes with."""
        return cls(method, STAIN_REFERENCES.get(method, ()))


@dataclass(frozen=True)
class AugmentationSettings:
    """What an augmented repeat may do to a crop; lengths are in pixels of the crop.

    Attributes
    ----------
    flip_probability : float
        Of a horizontal flip, and independently of a vertical one.
    rotation_deg : float
        The angle is uniform within plus and minus this.
    brightness, contrast, saturation : float
        Factors uniform within 1 plus and minus this.
    hue : float
        Shift uniform within plus and minus this share of the colour circle.
    stain_alpha, stain_beta : tuple of 2 floats
        Each stain channel ``s`` becomes ``alpha * s + beta`` (Tellez et al., 2018, doi:10.1109/TMI.2018.2820199).
    elastic_alpha_px, elastic_sigma_px : float
        Displacement amplitude and smoothness (Simard et al., 2003, doi:10.1109/ICDAR.2003.1227801).
    blur_probability : float
        Of a Gaussian blur whose sigma is uniform within ``blur_sigma_px``.
    blur_sigma_px : tuple of 2 floats
        The range of the blur's sigma.
    noise_sigma : tuple of 2 floats
        Range of the standard deviation of additive Gaussian noise; colours go from 0 to 1.
    erase_probability : float
        Of erasing one rectangle (Zhong et al., 2020, doi:10.1609/aaai.v34i07.7000).
    erase_area, erase_aspect : tuple of 2 floats
        Range of the rectangle's share of the crop, and of its width over its height (log-uniform).
    version : int
        Rises when the same settings and seed would give other pixels.
    """

    flip_probability: float = 0.5
    rotation_deg: float = 15.0
    brightness: float = 0.05
    contrast: float = 0.05
    saturation: float = 0.05
    hue: float = 0.04
    stain_alpha: Range = (0.8, 1.2)
    stain_beta: Range = (-0.1, 0.1)
    elastic_alpha_px: float = 25.0
    elastic_sigma_px: float = 7.0
    blur_probability: float = 0.15
    blur_sigma_px: Range = (0.1, 2.0)
    noise_sigma: Range = (0.01, 0.03)
    erase_probability: float = 0.25
    erase_area: Range = (0.02, 0.12)
    erase_aspect: Range = (0.3, 3.3)
    version: int = 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith("_probability"):
                require(0 <= value <= 1, f"{name} is {value}", "a probability from 0 to 1")
            elif isinstance(value, tuple):
                require(value[0] <= value[1], f"{name} is {value}", "a range, the smaller number first")
            if name not in _SIGNED:
                low = value[0] if isinstance(value, tuple) else value
                require(low >= 0, f"{name} is {value}", "nothing below 0")
        require(self.erase_aspect[0] > 0, f"erase_aspect is {self.erase_aspect}", "a range above 0")
        require(self.erase_area[1] <= 1, f"erase_area is {self.erase_area}", "shares of at most 1")


@dataclass(frozen=True)
class EncoderSettings:
    """Which frozen model turned crops into embeddings, and how its input was prepared.

    Attributes
    ----------
    name : str
        Name in the registry, hub id, or ``local`` for a folder without a name of its own.
    dim : int
        Length of an embedding.
    weights_digest : str
        SHA-256 of the weights file, or ``none`` for an encoder without weights.
    revision : str
        The hub commit, or empty for a local folder.
    input_size_px : int
        Side of the square that the encoder sees; 0 when it takes crops of any size.
    mean, std : tuple of 3 floats
        Normalisation after scaling to 0..1.
    pooling : str
        How tokens become one vector.
    version : int
        Rises when the same weights and crop would give another embedding.
    """

    name: str
    dim: int
    weights_digest: str = "none"
    revision: str = ""
    input_size_px: int = 224
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)
    pooling: str = "cls"
    version: int = 1


_AS_IT_IS = StainSettings()


@dataclass(frozen=True)
class Recipe:
    """All that decides the value of an embedding, given the image and its mask."""

    encoder: EncoderSettings
    crops: CropSettings = field(default_factory=CropSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    seed: int = 0
    stain: StainSettings = later(_AS_IT_IS)  # noqa: RUF009 - it is frozen

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON types."""
        plain: dict[str, Any] = json.loads(canonical_json(plain_of(self)))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` returned: the same fingerprint, and settings to compute by.

        Raises
        ------
        SettingError
            If it is not the recipe of an extraction, or the crops or repeats of another version than this one makes.
        """
        recipe: Self = read_as(cls, plain, "recipe")
        for name in ("crops", "augmentation", "stain"):
            ours = type(getattr(recipe, name))
            made_by = getattr(recipe, name).version
            require(made_by == ours.version, f"{name}.version is {made_by}", f"{ours.version}, all that is known here")
        return recipe

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        return fingerprint(self.to_dict())
