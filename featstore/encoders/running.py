"""A vision transformer in memory, on its device: pixels to CLS embeddings."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featstore.encoders.base import Floats, require
from featstore.encoders.checkpoints import check_tokens, last_hidden_state, load_model
from featstore.encoders.device import resolve_device, usable_devices
from featstore.encoders.precision import choose_precision
from featstore.encoders.processor import Processor
from featstore.errors import EncoderError

__all__ = ["RunningModel", "start_model"]


@dataclass(frozen=True, eq=False)
class RunningModel:
    """What `start_model` makes.

    Attributes
    ----------
    name : str
    model : transformers.PreTrainedModel
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
            return last_hidden_state(self.model, self.normalise(pixels))[:, 0].float()

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
        return RunningModel(self.name, model, self.processor, self.device, precision)


def start_model(
    name: str, folder: Path, processor: Processor, *, device: str, precision: str, compiled: bool = False
) -> RunningModel:
    """Load the model of a folder onto a device.

    Parameters
    ----------
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
        If the model can't be loaded, or gives no CLS embedding.
    """
    torch, transformers = require("torch"), require("transformers")
    there = resolve_device(device)
    whole = RunningModel(name, load_model(name, folder).to(there), processor, there)
    choice = choose_precision(precision, whole)
    running = whole if choice.precision == "float32" else whole.in_precision(choice.precision)
    grey = torch.full((1, processor.size_px, processor.size_px, 3), 128, dtype=torch.uint8)
    dim = check_tokens(name, running.model, running.normalise(grey))
    where = there if there == "cpu" else f"{there} ({dict(usable_devices())[there]})"
    how = {"device": where, "precision": choice.precision, **choice.how}
    how |= {"torch": torch.__version__, "transformers": transformers.__version__, "opencv": require("cv2").__version__}
    if compiled:
        how |= {"compiled": "torch.compile"}
        _compile(running, grey)
    return RunningModel(name, running.model, processor, there, choice.precision, dim, how)


def _compile(running: RunningModel, grey: Any) -> None:
    """Compile the model in place, and run it once: what a compiler lacks shows here."""
    try:
        running.model.compile()
        running.embed(grey)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise EncoderError(
            f"torch.compile failed on {running.device} ({type(error).__name__}: {first})",
            expected="a C++ compiler for the CPU, Triton for CUDA",
            remedy="Leave --compile out.",
        ) from error
