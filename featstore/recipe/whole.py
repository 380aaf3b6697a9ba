"""The whole recipe: the encoder, and the settings of everything before it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from featstore.canonical import canonical_json, fingerprint, later, plain_of, read_as, require
from featstore.recipe.crops import Colour, CropSettings
from featstore.recipe.repeats import AugmentationSettings
from featstore.recipe.stains import StainSettings

__all__ = ["EncoderSettings", "Recipe"]


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
