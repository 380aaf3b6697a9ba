"""Vision transformers of the Hugging Face hub, or of a local folder, as encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featstore.encoders.base import Floats, Pixels, require
from featstore.encoders.checkpoints import check_tokens, last_hidden_state, load_model
from featstore.encoders.device import usable_devices
from featstore.encoders.processor import Processor, Resize, read_processor, read_side
from featstore.encoders.weights import digest_weights, find_weights
from featstore.errors import EncoderError
from featstore.recipe import Colour, EncoderSettings

__all__ = ["HuggingFaceEncoder", "load_huggingface"]


@dataclass(frozen=True, eq=False)
class HuggingFaceEncoder:
    """A frozen vision transformer whose embedding is ``last_hidden_state[:, 0, :]``, the CLS token.

    Build one with `load_huggingface`, which checks all that is assumed here.

    Attributes
    ----------
    settings, how, licence, notes
        As every encoder has them.
    model : transformers.PreTrainedModel
        In evaluation mode, on ``device``, in ``precision``.
    device : str
        ``cpu``, ``mps`` or ``cuda:N``.
    precision : str
        ``float32``, ``float16`` or ``bfloat16``. Embeddings are float32 whatever it is.
    """

    settings: EncoderSettings
    how: Mapping[str, str]
    licence: str
    notes: tuple[str, ...]
    model: Any = field(repr=False)
    device: str
    precision: str

    @property
    def in_worker(self) -> bool:
        """False: a model of this size is held once, and wants batches."""
        return False

    @property
    def fill(self) -> Colour:
        """Mean colour of what the encoder was trained on, which it takes for no signal at all."""
        red, green, blue = (min(1.0, max(0.0, value)) for value in self.settings.mean)
        return red, green, blue

    @property
    def prepare(self) -> Callable[[Pixels], Pixels]:
        """Bring a crop to the input size; can be pickled without the model."""
        return Resize(self.settings.input_size_px)

    def encode(self, prepared: Sequence[Pixels]) -> Floats:
        """Embed prepared crops as one batch.

        Parameters
        ----------
        prepared : sequence of uint8 arrays of shape (size, size, 3)
            What ``prepare`` returned.

        Returns
        -------
        ndarray of shape (n_crops, dim), float32

        Raises
        ------
        EncoderError
            If an embedding is not finite.
        """
        if len(prepared) == 0:
            return np.zeros((0, self.settings.dim), np.float32)
        tokens = last_hidden_state(self.model, self.normalise(self._stack(prepared)))
        embeddings: Floats = tokens[:, 0].float().cpu().numpy()
        self._check_finite(embeddings)
        return embeddings

    def normalise(self, pixels: Pixels) -> Any:
        """Turn uint8 (n, size, size, 3) into the model's input: a tensor (n, 3, size, size) on its device."""
        return _normalise(pixels, self.settings.mean, self.settings.std, self.device, self.precision)

    def _stack(self, prepared: Sequence[Pixels]) -> Pixels:
        wanted = (self.settings.input_size_px, self.settings.input_size_px, 3)
        for array in prepared:
            if array.shape != wanted or array.dtype != np.uint8:
                raise EncoderError(
                    f"an array to encode has shape {array.shape} and type {array.dtype}",
                    expected=f"shape {wanted} and type uint8",
                    remedy="Pass crops through the encoder's prepare first.",
                )
        return np.stack(prepared)

    def _check_finite(self, embeddings: Floats) -> None:
        bad = int((~np.isfinite(embeddings).all(axis=1)).sum())
        if bad:
            remedy = (
                "Use --precision float32." if self.precision != "float32" else "The weights themselves are at fault."
            )
            raise EncoderError(
                f"{bad} of {len(embeddings)} embeddings of {self.settings.name} in {self.precision} are not finite",
                remedy=remedy,
            )


def load_huggingface(
    name: str,
    folder: Path,
    *,
    commit: str = "",
    device: str = "cpu",
    precision: str = "float32",
    licence: str = "",
    default: Processor | None = None,
) -> HuggingFaceEncoder:
    """Load the model of a folder.

    Parameters
    ----------
    name : str
        What the recipe calls the encoder.
    folder : Path
        Written by ``save_pretrained``: config.json, model.safetensors and mostly preprocessor_config.json.
    commit : str
        Of the hub; empty for a folder from elsewhere.
    device, precision : str
        As chosen, not ``auto``.
    licence : str
    default : Processor, optional
        Used when the folder has no processor's file.

    Raises
    ------
    WeightsNotFoundError, EncoderError
    """
    files = find_weights(folder)
    torch, transformers = require("torch"), require("transformers")
    model = load_model(name, folder)
    processor, notes = _choose_processor(name, folder, model, default)
    model = model.to(device=device, dtype=getattr(torch, precision))
    grey = np.full((1, processor.size_px, processor.size_px, 3), 128, np.uint8)
    dim = check_tokens(name, model, _normalise(grey, processor.mean, processor.std, device, precision))
    settings = EncoderSettings(
        name=name,
        dim=dim,
        weights_digest=digest_weights(files),
        revision=commit,
        input_size_px=processor.size_px,
        mean=processor.mean,
        std=processor.std,
    )
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    where = device if device == "cpu" else f"{device} ({dict(usable_devices())[device]})"
    how = {"device": where, "precision": precision, **versions}
    return HuggingFaceEncoder(settings, how, licence, notes, model, device, precision)


def _choose_processor(
    name: str, folder: Path, model: Any, default: Processor | None
) -> tuple[Processor, tuple[str, ...]]:
    """Take the folder's processor, else the default, else ImageNet's numbers.

    Those are what nearly every vision transformer was trained with; refusing such a folder would only make its owner
    write the same numbers into a file. They are said in a note and stand in the recipe.
    """
    size = getattr(model.config, "image_size", None)
    found = read_processor(folder, size) or default
    if found:
        return found, ()
    note = f"{name} comes without preprocessor_config.json: normalised with ImageNet's mean and standard deviation"
    return Processor(read_side(size, folder)), (note,)


def _normalise(pixels: Pixels, mean: Colour, std: Colour, device: str, precision: str) -> Any:
    """Scale to 0..1, subtract the mean, divide by the deviation: in float32, on the device, then in ``precision``."""
    torch = require("torch")
    colours = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).to(torch.float32) / 255
    centre, spread = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
    return ((colours - centre) / spread).to(getattr(torch, precision))
