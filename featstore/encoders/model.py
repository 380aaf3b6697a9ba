"""A frozen network as an encoder, whichever library it is of."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featstore.encoders.base import Floats, Pixels, require
from featstore.encoders.device import usable_devices
from featstore.encoders.processor import Processor, Resize
from featstore.encoders.running import Library, RunningModel, start_model
from featstore.encoders.weights import CONFIG, digest_weights, find_weights
from featstore.errors import EncoderError
from featstore.recipe import EncoderSettings
from featstore.recipe.crops import Colour

__all__ = ["ModelEncoder", "own_devices"]


@dataclass(eq=False)
class ModelEncoder:
    """A frozen network that lies in a folder.

    Build one with `load_encoder`. The model itself is loaded by `start`, or by the first `encode`: what a recipe
    says of an encoder needs only its files. One that is pickled starts anew where it arrives, from the same folder,
    whose weights must be the same there.

    Attributes
    ----------
    settings, licence, notes
        As every encoder has them.
    library : Library
        How the network is loaded and called.
    folder : Path
        Where the weights are.
    wanted_device, wanted_precision : str
        As asked for; ``auto`` is decided at the start.
    compiled : bool
        Whether the model goes through ``torch.compile``.
    """

    library: Library = field(repr=False)
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
            self.library,
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
    if not isinstance(encoder, ModelEncoder) or encoder.wanted_device not in ("auto", "cuda"):
        return []
    return [device for device, _ in usable_devices() if device.startswith("cuda")]
