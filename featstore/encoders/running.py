"""A network in memory, on its device: pixels to embeddings, whichever library the network is of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from featstore.encoders.base import Floats, first_line, require
from featstore.encoders.device import resolve_device, usable_devices
from featstore.encoders.precision import choose_precision
from featstore.encoders.processor import Processor
from featstore.errors import EncoderError

__all__ = ["Library", "RunningModel", "start_model"]


@dataclass(frozen=True)
class Library:
    """What one library's models have in common; all else is the same for every network.

    Attributes
    ----------
    name : str
        Of its package, whose version is recorded.
    load : callable
        Takes a name for messages and a folder; gives the network in evaluation mode, on the CPU, in float32.
    check : callable
        Takes a name, a network and its input (1, 3, size, size); runs it once and gives the length of an embedding, or
        raises `EncoderError` if it gives none.
    embed : callable
        Takes a network and its input (n, 3, size, size); gives embeddings (n, dim), with gradients where torch is set
        to keep them.
    """

    name: str
    load: Callable[[str, Path], Any]
    check: Callable[[str, Any, Any], int]
    embed: Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class RunningModel:
    """What `start_model` makes.

    Attributes
    ----------
    library : Library
    name : str
    model : torch.nn.Module
        In evaluation mode, on ``device``, in ``precision``.
    processor : Processor
    device : str
        ``cpu``, ``mps`` or ``cuda:N``.
    precision : str
        ``float32``, ``float16`` or ``bfloat16``. Embeddings are float32 whatever it is.
    dim : int
        Length of an embedding.
    how : mapping of str to str
        What is recorded beside the recipe.
    """

    library: Library = field(repr=False)
    name: str
    model: Any = field(repr=False)
    processor: Processor
    device: str
    precision: str = "float32"
    dim: int = 0
    how: Mapping[str, str] = field(default_factory=dict)

    def normalise(self, pixels: Any) -> Any:
        """Turn a uint8 tensor (n, size, size, 3) into the model's input (n, 3, size, size), on its device.

        Scaled to 0..1, less the mean, over the deviation: in float32, then in ``precision``.
        """
        torch = require("torch")
        colours = pixels.to(self.device).permute(0, 3, 1, 2).to(torch.float32) / 255
        mean, std = self._numbers
        return ((colours - mean) / std).to(getattr(torch, self.precision))

    @cached_property
    def _numbers(self) -> tuple[Any, Any]:
        """Mean and deviation, on the device once: a copy with each batch would wait for the batch before."""
        torch = require("torch")
        mean, std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1)
            for values in (self.processor.mean, self.processor.std)
        )
        return mean, std

    def embed(self, pixels: Any) -> Any:
        """Embed a uint8 tensor (n, size, size, 3): float32 (n, dim), on the device, which may still be computing."""
        torch = require("torch")
        with torch.inference_mode():
            return self.library.embed(self.model, self.normalise(pixels)).float()

    def checked(self, embeddings: Floats) -> Floats:
        """Return ``embeddings``, or raise `EncoderError` if a number is not finite."""
        bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
        if bad:
            own = self.precision == "float32"
            raise EncoderError(
                f"{bad} of {len(embeddings)} embeddings of {self.name} in {self.precision} are not finite",
                remedy="The weights themselves are at fault." if own else "Use --precision float32.",
            )
        return embeddings

    def in_precision(self, precision: str) -> RunningModel:
        """Copy the model in another precision."""
        torch = require("torch")
        model = copy.deepcopy(self.model).to(getattr(torch, precision))
        return RunningModel(self.library, self.name, model, self.processor, self.device, precision)


def start_model(
    library: Library,
    name: str,
    folder: Path,
    processor: Processor,
    *,
    device: str,
    precision: str,
    compiled: bool = False,
) -> RunningModel:
    """Load the model of a folder onto a device.

    Parameters
    ----------
    library : Library
    name : str
    folder : Path
    processor : Processor
    device, precision : str
        As asked for; ``auto`` chooses.
    compiled : bool
        Whether ``torch.compile`` is to make it faster, after a start of a minute or so.

    Raises
    ------
    SettingError
        If the device or precision is not to be had here.
    EncoderError
        If the model can't be loaded, or gives no embedding.
    """
    torch = require("torch")
    there = resolve_device(device)
    whole = RunningModel(library, name, library.load(name, folder).to(there), processor, there)
    choice = choose_precision(precision, whole)
    running = whole if choice.precision == "float32" else whole.in_precision(choice.precision)
    grey = torch.full((1, processor.size_px, processor.size_px, 3), 128, dtype=torch.uint8)
    dim = library.check(name, running.model, running.normalise(grey))
    where = there if there == "cpu" else f"{there} ({dict(usable_devices())[there]})"
    how = {"device": where, "precision": choice.precision, **choice.how}
    how |= {"torch": torch.__version__, library.name: version(library.name), "opencv": require("cv2").__version__}
    if compiled:
        how |= {"compiled": "torch.compile"}
        _compile(running, grey)
    return RunningModel(library, name, running.model, processor, there, choice.precision, dim, how)


def _compile(running: RunningModel, grey: Any) -> None:
    """Compile the model in place, and run it once: what a compiler lacks shows here."""
    try:
        running.model.compile()
        running.embed(grey)
    except Exception as error:
        raise EncoderError(
            f"torch.compile failed on {running.device} ({first_line(error)})",
            expected="a C++ compiler for the CPU, Triton for CUDA",
            remedy="Leave --compile out.",
        ) from error
