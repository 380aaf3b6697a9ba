"""What every encoder offers, and the checks that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.extras import require_extra
from featstore.recipe import EncoderSettings

__all__ = ["Encoder", "Floats", "Pixels", "check_crop", "first_line", "require"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@runtime_checkable
class Encoder(Protocol):
    """A frozen model that turns crops into embeddings.

    Attributes
    ----------
    settings : EncoderSettings
        What decides the value of an embedding; part of the recipe.
    fill : tuple of 3 floats
        The encoder's mean colour, RGB from 0 to 1: what ``--fill encoder`` puts outside the tissue.
    in_worker : bool
        True for a cheap encoder without weights or device: it may be pickled and run inside loader processes.
        False for a model that wants batches in the main process.
    how : mapping of str to str
        Device, precision and library versions in use: recorded beside the recipe, not in it. Whole after ``start``.
    licence : str
        Terms of the weights, for people to read.
    notes : tuple of str
        What the user should hear of before a long run; empty when nothing was assumed.
    prepare : callable
        Turns a crop (``uint8 (s, s, 3)``, RGB) into the array that ``encode`` takes: of the side that the settings
        name as ``input_size_px``, unless the encoder is of the light kind. It can be pickled by itself, so that loader
        processes prepare crops without holding the model.
    """

    @property
    def settings(self) -> EncoderSettings: ...  # noqa: D102 - described above, as are the next six
    @property
    def fill(self) -> tuple[float, float, float]: ...  # noqa: D102
    @property
    def in_worker(self) -> bool: ...  # noqa: D102
    @property
    def how(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def prepare(self) -> Callable[[Pixels], Pixels]: ...  # noqa: D102

    def start(self) -> None:
        """Load what ``encode`` needs; a second call does nothing."""
        ...

    def encode(self, prepared: Sequence[Pixels]) -> Floats:
        """Embed prepared crops, after a ``start`` if need be.

        Parameters
        ----------
        prepared : sequence of uint8 arrays
            What ``prepare`` returned, one array a crop.

        Returns
        -------
        ndarray of shape (n_crops, dim), float32
            Finite numbers.
        """
        ...


def check_crop(crop: Pixels) -> Pixels:
    """Return ``crop``, or raise `DataError` if it is no RGB picture of 8 bits a channel."""
    array: Any = np.asarray(crop)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise DataError(
            f"a crop is an array of shape {array.shape} and type {array.dtype}",
            expected="a picture of shape (side, side, 3), type uint8, in RGB order",
        )
    checked: Pixels = array
    return checked


def require(module: str, extra: str = "extract") -> ModuleType:
    """Import a module that encoders need, or say which extra brings it."""
    return require_extra(module, extra, "the encoder needs")


def first_line(error: Exception) -> str:
    """Tell what a library's error says, without the page of advice that may follow."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
