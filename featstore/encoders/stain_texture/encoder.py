"""``stain-texture``: the built-in encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from featstore.encoders.base import Floats, Pixels, check_crop, require
from featstore.encoders.stain_texture.colour import describe_colour
from featstore.encoders.stain_texture.nuclei import describe_nuclei
from featstore.encoders.stain_texture.outline import describe_outline
from featstore.encoders.stain_texture.texture import describe_texture
from featstore.encoders.stain_texture.typical import EVIDENCE_PX, typical
from featstore.encoders.stain_texture.view import look
from featstore.recipe import EncoderSettings

__all__ = ["StainTexture", "describe"]

LIMIT = 20.0
"""An embedding's numbers end here: an odd crop may lie far from typical, but not so far as to swamp a mean."""


@dataclass(frozen=True)
class StainTexture:
    """Classical descriptors of size, stain, nuclei and texture; no weights, no device, no random numbers.

    A descriptor is written as its distance from typical H&E tissue, in the spread it has there. What is said of the
    tissue's character is drawn towards typical where there is little tissue to judge by, with the weight of
    ``EVIDENCE_PX`` pixels; what is an amount (area, counts) is left as it is.

    Each crop is described by itself: an embedding never depends on its batch.
    """

    fill: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    in_worker: ClassVar[bool] = True
    licence: ClassVar[str] = "Apache-2.0 (part of featstore)"
    notes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for module in ("cv2", "skimage"):
            require(module)

    @property
    def settings(self) -> EncoderSettings:
        """Part of the recipe; ``version`` rises with any change to what the descriptors compute."""
        return EncoderSettings(name="stain-texture", dim=len(typical()), input_size_px=0, pooling="descriptors")

    @property
    def how(self) -> Mapping[str, str]:
        """Where the numbers are computed, and by which versions of which libraries."""
        packages = {"numpy": "numpy", "opencv": "cv2", "scikit-image": "skimage"}
        versions = {package: str(require(module).__version__) for package, module in packages.items()}
        return {"device": "cpu", "precision": "float32", **versions}

    @property
    def prepare(self) -> Callable[[Pixels], Pixels]:
        """Only a check: the size of a crop in pixels is itself described."""
        return check_crop

    def start(self) -> None:
        """There is nothing to load."""

    def encode(self, prepared: Sequence[Pixels]) -> Floats:
        """Describe crops.

        Parameters
        ----------
        prepared : sequence of uint8 arrays of shape (side, side, 3)
            RGB crops, of any sizes.

        Returns
        -------
        ndarray of shape (n_crops, dim), float32
            Every number between -20 and 20.
        """
        embeddings = np.zeros((len(prepared), len(typical())), np.float32)
        for row, crop in enumerate(prepared):
            embeddings[row] = _embed(crop)
        return embeddings


def describe(crop: Pixels) -> tuple[dict[str, float], dict[str, float], float]:
    """Describe one crop in plain numbers.

    Parameters
    ----------
    crop : ndarray of shape (side, side, 3), uint8
        RGB.

    Returns
    -------
    amounts : dict of str to float
        What grows with the crop.
    character : dict of str to float
        What its tissue is like.
    tissue_px : float
        Area of the tissue, in pixels of the crop.
    """
    view = look(check_crop(crop))
    counts, nuclei = describe_nuclei(view)
    amounts = describe_outline(view) | counts
    character = describe_colour(view) | nuclei | describe_texture(view)
    return amounts, character, float(view.tissue.sum()) * view.scale**2


def _embed(crop: Pixels) -> Floats:
    amounts, character, tissue_px = describe(crop)
    values = np.fromiter((amounts | character).values(), np.float64)
    table = np.asarray(list(typical().values()))
    away = (values - table[:, 0]) / table[:, 1]
    away[len(amounts) :] *= tissue_px / (tissue_px + EVIDENCE_PX)
    return np.asarray(np.clip(away, -LIMIT, LIMIT), np.float32)
