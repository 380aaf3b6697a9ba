"""What was computed: cropping, augmentation, encoder, seed; as canonical JSON, and its fingerprint.

A recipe holds *what* is computed and nothing of *how* (device, precision, batch size, workers, library versions):
two runs with one fingerprint may share a store, two with different ones never do.

A field that was added when stores were out there already is made with `later`: while it has its default, which asks for
what was done before there was the field, it is left out of the JSON. So the recipes of these stores keep their
fingerprints, and the stores can be read and continued.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Self, get_args, get_type_hints

from featstore.errors import SettingError

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

OBJECT, TILE = 1, 0
"""Scales with a meaning of their own: the object itself, and a tile of it."""

_SIGNED = frozenset({"stain_alpha", "stain_beta"})
_LATER = "left out at its default"

MOST_SCALE = 16
LEAST_TILE_PX, MOST_TILE_PX = 16, 4096


STAIN_REFERENCES: dict[str, tuple[float, ...]] = {
    "macenko": (0.5626, 0.7201, 0.4062, 0.2159, 0.8012, 0.5581, 1.9705, 1.0308),
    "reinhard": (51.6, 43.3, -9.7, 11.4, 8.1, 4.5),
}
"""Macenko's is that of the method's first implementation, which others took over; Reinhard's the median of twelve
fields of two slides, one of them of the TCGA."""


def _require(ok: bool, found: str, expected: str) -> None:
    if not ok:
        raise SettingError(found, expected=expected)


def later(default: Any) -> Any:
    """Make a dataclass field that stays out of the recipe's JSON while it has its default."""
    return field(default=default, metadata={_LATER: True})


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
    scales : tuple of int
        Crops of each blob: 1, the blob itself, and by how much wider squares around it are, rising.
    tile_px : int
        Side of the tiles that blobs are cut into besides, as they reach the encoder; 0 for none.
    tile_tissue : float
        Tiles are kept of which at least this share is tissue of their blob.
    mpp : float
        Micrometres a pixel of the tiles; 0 for the image's own pixels.
    """

    max_blobs: int = 10
    min_area_px: int = 100
    margin: float = 0.1
    fill: Colour = (0.5, 0.5, 0.5)
    version: int = 1
    scales: tuple[int, ...] = later((OBJECT,))
    tile_px: int = later(0)
    tile_tissue: float = later(0.25)
    mpp: float = later(0.0)

    def __post_init__(self) -> None:
        _require(self.max_blobs >= 1, f"max_blobs is {self.max_blobs}", "1 or more")
        _require(self.min_area_px >= 1, f"min_area_px is {self.min_area_px}", "1 pixel or more")
        _require(0 <= self.margin <= 10, f"margin is {self.margin}", "a share from 0 to 10")
        ok = len(self.fill) == 3 and all(0 <= value <= 1 for value in self.fill)
        _require(ok, f"fill is {self.fill}", "three numbers from 0 to 1 (red, green, blue)")
        self._require_scales()

    def _require_scales(self) -> None:
        scales = self.scales
        ok = scales[:1] == (OBJECT,) and scales == tuple(sorted(set(scales))) and scales[-1] <= MOST_SCALE
        _require(ok, f"scales are {scales}", f"1 and then larger whole numbers up to {MOST_SCALE}, such as 1, 2, 4")
        known = self.tile_px == 0 or LEAST_TILE_PX <= self.tile_px <= MOST_TILE_PX
        _require(known, f"tile_px is {self.tile_px}", f"{LEAST_TILE_PX} to {MOST_TILE_PX} pixels, or 0 for no tiles")
        _require(0 <= self.tile_tissue <= 1, f"tile_tissue is {self.tile_tissue}", "a share from 0 to 1")
        _require(0 <= self.mpp < 1000, f"mpp is {self.mpp}", "micrometres a pixel, above 0, or 0 for the image's own")
        of_tiles = (self.tile_tissue, self.mpp) == (CropSettings.tile_tissue, CropSettings.mpp)
        _require(self.tile_px > 0 or of_tiles, "tile_tissue or mpp without tiles", "a tile_px as well")

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
        _require(self.method in known, f"stain method is {self.method!r}", f"one of {', '.join(known)}")
        wanted = len(known[self.method])
        ok = len(self.reference) == wanted and all(abs(value) < 1000 for value in self.reference)
        _require(ok, f"the reference of {self.method} is {self.reference}", f"{wanted} numbers")

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
                _require(0 <= value <= 1, f"{name} is {value}", "a probability from 0 to 1")
            elif isinstance(value, tuple):
                _require(value[0] <= value[1], f"{name} is {value}", "a range, the smaller number first")
            if name not in _SIGNED:
                low = value[0] if isinstance(value, tuple) else value
                _require(low >= 0, f"{name} is {value}", "nothing below 0")
        _require(self.erase_aspect[0] > 0, f"erase_aspect is {self.erase_aspect}", "a range above 0")
        _require(self.erase_area[1] <= 1, f"erase_area is {self.erase_area}", "shares of at most 1")


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
        plain: dict[str, Any] = json.loads(canonical_json(_plain(self)))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` returned: the same fingerprint, and settings to compute by.

        Raises
        ------
        SettingError
            If it is not the recipe of an extraction, or the crops or repeats of another version than this one makes.
        """
        recipe: Self = _read(cls, plain, "recipe")
        for name in ("crops", "augmentation", "stain"):
            ours = type(getattr(recipe, name))
            made_by = getattr(recipe, name).version
            _require(made_by == ours.version, f"{name}.version is {made_by}", f"{ours.version}, all that is known here")
        return recipe

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        return fingerprint(self.to_dict())


def _plain(settings: Any) -> dict[str, Any]:
    """Lay settings out as a mapping, without those added `later` that have their default."""
    told = {item.name: getattr(settings, item.name) for item in fields(settings)}
    kept = {item.name: told[item.name] for item in fields(settings) if not _is_left_out(item, told[item.name])}
    return {name: _plain(value) if is_dataclass(value) else value for name, value in kept.items()}


def _is_left_out(item: Field[Any], value: Any) -> bool:
    return _LATER in item.metadata and bool(value == item.default)


def canonical_json(value: Any) -> str:
    """Write ``value`` as JSON in the one form that is hashed: sorted keys, no spaces, UTF-8, finite numbers.

    Raises
    ------
    SettingError
        If ``value`` holds something that JSON can't, a number that is not finite, or a key that is no text.
    """
    try:
        _require_text_keys(value)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingError(
            f"a recipe, or how it was computed, can't be written as JSON ({error})",
            expected="strings, finite numbers, booleans, lists and mappings of these",
        ) from error
    return text


def _require_text_keys(value: Any) -> None:
    """Refuse other keys: JSON makes text of a number, which then sorts otherwise than it did."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise TypeError(f"the key {name!r} is no text")
            _require_text_keys(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _require_text_keys(inner)


def fingerprint(recipe: Mapping[str, Any]) -> str:
    """SHA-256 of the recipe's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(dict(recipe)).encode()).hexdigest()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """List the fields in which two recipes differ, as (dotted path, ours, theirs)."""
    left, right = dict(_flatten(ours)), dict(_flatten(theirs))
    paths = sorted(left.keys() | right.keys())
    return [(path, left.get(path), right.get(path)) for path in paths if left.get(path) != right.get(path)]


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(item) if isinstance(item, tuple) else item


def _read(kind: type[Any], value: Any, where: str) -> Any:
    """Check one value against the type that it is to have; fields of a dataclass must all be there, and no others."""
    if is_dataclass(kind):
        return _read_settings(kind, value, where)
    if parts := get_args(kind):
        if parts[-1] is ... and isinstance(value, list | tuple):
            parts = parts[:1] * len(value)
        ok = isinstance(value, list | tuple) and len(value) == len(parts)
        _require(ok, f"{where} is {value!r}", f"{len(parts)} numbers")
        return tuple(_read(part, item, where) for part, item in zip(parts, value, strict=True))
    _require(type(value) in {kind, *((int,) if kind is float else ())}, f"{where} is {value!r}", kind.__name__)
    return value


def _read_settings(kind: type[Any], there: Any, where: str) -> Any:
    """Read a dataclass; only fields that were added `later` may be missing, and these stand there for a reason."""
    _require(isinstance(there, Mapping), f"{where} is {there!r}", "an object")
    types, items = get_type_hints(kind), {item.name: item for item in fields(kind)}
    for word, odd in (
        ("no", [name for name, item in items.items() if name not in there and _LATER not in item.metadata]),
        ("an unknown", [name for name in there if name not in items]),
    ):
        _require(not odd, f"{where} has {word} field {odd[0]!r}" if odd else "", "the recipe of featstore extract")
    values = {name: _read(types[name], value, f"{where}.{name}") for name, value in there.items()}
    for name, value in values.items():
        found = f"{where}.{name} is {value!r}, as without it"
        _require(not _is_left_out(items[name], value), found, "no such field while it has its default")
    return kind(**values)
