"""How an encoder wants its input: size, mean and standard deviation, read from the files beside its weights.

The processor classes of transformers resize differently from version to version (and from class to class of one
version), so nothing of them is used: crops are resized by OpenCV to the exact input size, then rescaled and normalised
with the processor's own numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featstore.encoders.base import Pixels, check_crop
from featstore.encoders.weights import read_json
from featstore.errors import EncoderError
from featstore.recipe.crops import Colour

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Processor", "Resize", "make_processor", "read_processor", "read_side"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_DEFAULT_RESCALE = 1 / 255


@dataclass(frozen=True)
class Processor:
    """Numbers that make pixels into input.

    Attributes
    ----------
    size_px : int
        Side of the square that the model sees.
    mean, std : tuple of 3 floats
        Normalisation of colours from 0 to 1.
    """

    size_px: int
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD


@dataclass(frozen=True)
class Resize:
    """Bring a crop to the input size; small enough to send to a loader process.

    Areas are averaged when shrinking, so that nothing aliases; growing is bicubic.
    """

    size_px: int

    def __call__(self, crop: Pixels) -> Pixels:
        """Return ``crop`` as uint8 (size_px, size_px, 3)."""
        import cv2

        crop = check_crop(crop)
        height, width = crop.shape[:2]
        if (height, width) == (self.size_px, self.size_px):
            return crop
        shrinks = max(height, width) > self.size_px
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(crop, (self.size_px, self.size_px), interpolation=method), np.uint8)


def read_processor(folder: Path, image_size: Any) -> Processor | None:
    """Read the processor's file of a model folder.

    Parameters
    ----------
    folder : Path
    image_size : int, or sequence or mapping of int
        From the model's configuration; it holds where the processor says nothing of size. Where both do, the processor
        is right: a DINOv2 of 518 pixels interpolates its position embeddings for the 224 that it is to be used at.

    Returns
    -------
    Processor or None
        None when the folder has no such file.

    Raises
    ------
    EncoderError
        If it asks for something that is not square, not in RGB, or not finite.
    """
    content = _read(folder)
    if content is None:
        return None
    wanted = content.get("size")
    if content.get("do_center_crop", True) and content.get("crop_size"):
        wanted = content["crop_size"]
    mean, std, scale = _normalisation(content, folder)
    return make_processor(wanted if wanted else image_size, mean, std, folder, scale)


def make_processor(size: Any, mean: Any, std: Any, where: object, scale: float = 1.0) -> Processor:
    """Make a processor of what a file says of one.

    Parameters
    ----------
    size : int, or sequence or mapping of int
    mean, std : sequence of float
        For colours from 0 to ``scale``.
    where : object
        What messages name.
    scale : float

    Raises
    ------
    EncoderError
        If the size is not square, or mean and deviation are not three finite numbers each, deviations above 0.
    """
    if not (_is_colour(mean) and _is_colour(std) and min(std) > 0):
        raise EncoderError(
            f"the processor of {where} has mean {mean}, standard deviation {std}",
            expected="three numbers for each (RGB), deviations above 0",
        )
    return Processor(read_side(size, where), _colour(mean, scale), _colour(std, scale))


def _read(folder: Path) -> dict[str, Any] | None:
    if (folder / "preprocessor_config.json").is_file():
        return read_json(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").is_file():
        content = read_json(folder / "processor_config.json").get("image_processor")
        return content if isinstance(content, dict) else None
    return None


def _normalisation(content: dict[str, Any], folder: Path) -> tuple[Any, Any, float]:
    """Mean and standard deviation, and the number that white is when they are applied."""
    mean: Any = content.get("image_mean", IMAGENET_MEAN) if content.get("do_normalize", True) else (0.0, 0.0, 0.0)
    std: Any = content.get("image_std", IMAGENET_STD) if content.get("do_normalize", True) else (1.0, 1.0, 1.0)
    factor: Any = content.get("rescale_factor", _DEFAULT_RESCALE) if content.get("do_rescale", True) else 1.0
    if not (_is_number(factor) and factor > 0):
        raise EncoderError(f"the processor of {folder} has rescale factor {factor}", expected="a number above 0")
    if content.get("rescale_offset"):
        raise EncoderError(
            f"the processor of {folder} shifts colours (rescale_offset)", expected="a mean and deviation"
        )
    return mean, std, 1.0 if math.isclose(factor, _DEFAULT_RESCALE, rel_tol=1e-9) else 255.0 * factor


def _colour(values: Any, scale: float) -> Colour:
    red, green, blue = (float(value) / scale for value in values)
    return red, green, blue


def _is_colour(values: Any) -> bool:
    return isinstance(values, list | tuple) and len(values) == 3 and all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_side(size: Any, where: object) -> int:
    """Side of a square from any of the ways in which transformers writes a size."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or [size.get("height"), size.get("width")]
    if isinstance(size, list | tuple) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 4096:
        raise EncoderError(f"the input size of {where} is {size}", expected="a square of 1 to 4096 pixels")
    return size
