"""Vision transformers of the Hugging Face hub, or of a local folder, as encoders."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featstore.encoders.base import Floats, Pixels, require
from featstore.encoders.checkpoints import read_config
from featstore.encoders.device import usable_devices
from featstore.encoders.processor import Processor, Resize, read_processor, read_side
from featstore.encoders.running import RunningModel, start_model
from featstore.encoders.weights import CONFIG, digest_weights, find_weights, named_digest, read_json
from featstore.errors import EncoderError
from featstore.recipe import Colour, EncoderSettings

__all__ = ["HuggingFaceEncoder", "load_huggingface", "own_devices"]


@dataclass(eq=False)
class HuggingFaceEncoder:
    """A frozen vision transformer whose embedding is ``last_hidden_state[:, 0, :]``, the CLS token.

    Build one with `load_huggingface`. The model itself is loaded by `start`, or by the first `encode`: what a recipe
    says of an encoder needs only its files. One that is pickled starts anew where it arrives, from the same folder,
    whose weights must be the same there.

    Attributes
    ----------
    settings, licence, notes
        As every encoder has them.
    folder : Path
        Where the weights are.
    wanted_device, wanted_precision : str
        As asked for; ``auto`` is decided at the start.
    compiled : bool
        Whether the model goes through ``torch.compile``.
    """

    settings: EncoderSettings
    licence: str
    notes: tuple[str, ...]
    folder: Path
    wanted_device: str = "auto"
    wanted_precision: str = "auto"
    compiled: bool = False
    _running: RunningModel | None = field(default=None, repr=False)
    _unverified: bool = field(default=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "folder": self.folder.absolute(), "_running": None, "_unverified": True}

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

    @property
    def how(self) -> Mapping[str, str]:
        """Device, precision and versions in use; empty before the start."""
        return self._running.how if self._running else {}

    @property
    def running(self) -> RunningModel:
        """The model in memory; loads it if need be."""
        self.start()
        assert self._running is not None  # noqa: S101 - start raises otherwise
        return self._running

    def start(self) -> None:
        """Load the model onto its device, once.

        Raises
        ------
        SettingError
            If the device or precision is not to be had here.
        EncoderError
            If the model can't be loaded or is not that of the settings.
        """
        if self._running:
            return
        if self._unverified and digest_weights(find_weights(self.folder)) != self.settings.weights_digest:
            raise EncoderError(
                f"the weights in {self.folder} on {platform.node()} are others than this encoder was set up with",
                expected="the same files under the same path on every machine, as they were downloaded",
            )
        running = start_model(
            self.settings.name,
            self.folder,
            Processor(self.settings.input_size_px, self.settings.mean, self.settings.std),
            device=self.wanted_device,
            precision=self.wanted_precision,
            compiled=self.compiled,
        )
        if running.dim != self.settings.dim:
            raise EncoderError(
                f"{self.settings.name} gives embeddings of {running.dim} numbers, {CONFIG} says {self.settings.dim}",
                expected="a configuration that describes the weights",
            )
        self._running = running

    def encode(self, prepared: Sequence[Pixels] | Pixels) -> Floats:
        """Embed prepared crops as one batch.

        Parameters
        ----------
        prepared : sequence of uint8 arrays of shape (size, size, 3), or one array of shape (n, size, size, 3)
            What ``prepare`` returned.

        Returns
        -------
        ndarray of shape (n_crops, dim), float32

        Raises
        ------
        EncoderError
            If a crop was not prepared, or an embedding is not finite.
        """
        if len(prepared) == 0:
            return np.zeros((0, self.settings.dim), np.float32)
        running, torch = self.running, require("torch")
        embeddings: Floats = running.embed(torch.from_numpy(self._stacked(prepared))).cpu().numpy()
        return running.checked(embeddings)

    def _stacked(self, prepared: Sequence[Pixels] | Pixels) -> Pixels:
        wanted = (self.settings.input_size_px, self.settings.input_size_px, 3)
        for array in prepared:
            if array.shape != wanted or array.dtype != np.uint8:
                raise EncoderError(
                    f"an array to encode has shape {array.shape} and type {array.dtype}",
                    expected=f"shape {wanted} and type uint8",
                    remedy="Pass crops through the encoder's prepare first.",
                )
        return prepared if isinstance(prepared, np.ndarray) else np.stack(prepared)


def own_devices(encoder: object) -> list[str]:
    """List the devices of this machine that an encoder may use at the same time: several GPUs, where none was chosen.

    Returns
    -------
    list of str
        One name or none for an encoder that is to run on one device, whichever it is.
    """
    if not isinstance(encoder, HuggingFaceEncoder) or encoder.wanted_device not in ("auto", "cuda"):
        return []
    return [device for device, _ in usable_devices() if device.startswith("cuda")]


def load_huggingface(
    name: str,
    folder: Path,
    *,
    commit: str = "",
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    licence: str = "",
    default: Processor | None = None,
) -> HuggingFaceEncoder:
    """Make an encoder of a folder; its model is not loaded yet.

    Parameters
    ----------
    name : str
        What the recipe calls the encoder.
    folder : Path
        Written by ``save_pretrained``: config.json, model.safetensors and mostly preprocessor_config.json.
    commit : str
        Of the hub; empty for a folder from elsewhere.
    device, precision : str
    compiled : bool
    licence : str
    default : Processor, optional
        Used when the folder has no processor's file.

    Raises
    ------
    WeightsNotFoundError, EncoderError
    """
    files = find_weights(folder)
    dim, own_size = _read_sizes(name, folder)
    named = named_digest(files) if dim else ""
    processor, notes = _choose_processor(name, folder, own_size, default)
    running = None
    if dim is None:
        running = start_model(name, folder, processor, device=device, precision=precision, compiled=compiled)
    settings = EncoderSettings(
        name=name,
        dim=running.dim if running else int(dim or 0),
        weights_digest=named or digest_weights(files),
        revision=commit,
        input_size_px=processor.size_px,
        mean=processor.mean,
        std=processor.std,
    )
    return HuggingFaceEncoder(settings, licence, notes, folder, device, precision, compiled, running, bool(named))


def _read_sizes(name: str, folder: Path) -> tuple[int | None, Any]:
    """Tell the length of an embedding (None: only the model knows) and the input size, from config.json alone.

    A file that leaves out what is usual for its kind of model is read by transformers, which knows what that is.
    """
    config = read_json(folder / CONFIG)
    if not {"hidden_size", "image_size"} <= config.keys():
        config = read_config(name, folder).to_dict()
    dim = config.get("hidden_size")
    return (dim if isinstance(dim, int) and dim > 0 else None), config.get("image_size")


def _choose_processor(
    name: str, folder: Path, own_size: Any, default: Processor | None
) -> tuple[Processor, tuple[str, ...]]:
    """Take the folder's processor, else the default, else ImageNet's numbers.

    Those are what nearly every vision transformer was trained with; refusing such a folder would only make its owner
    write the same numbers into a file. They are said in a note and stand in the recipe.
    """
    found = read_processor(folder, own_size) or default
    if found:
        return found, ()
    note = f"{name} comes without preprocessor_config.json: normalised with ImageNet's mean and standard deviation"
    return Processor(read_side(own_size, folder)), (note,)
