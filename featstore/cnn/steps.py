"""One network's steps: a batch forward and back, in parts where memory is short."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.cnn.augment import STRENGTHS, augment
from featstore.cnn.batches import key_of, parted
from featstore.cnn.networks import build, normalised
from featstore.cnn.optimiser import make_optimiser
from featstore.cnn.predicting import on_device
from featstore.cnn.settings import Settings
from featstore.encoders.device import free_memory, is_out_of_memory
from featstore.errors import TrainingError

__all__ = ["Part", "Steps"]


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures to train or to validate on: pixels (n, side, side, 4) uint8, a digest and a class position each."""

    pixels: NDArray[np.uint8]
    digests: list[str]
    codes: NDArray[np.intp]


@dataclass(eq=False)
class Steps:
    """A network on its device, with its optimiser.

    Attributes
    ----------
    settings : Settings
    images : Part
        What is trained on.
    n_classes : int
    device, precision : str
    micro : int
        So many pictures at a time.
    notes : list of str
        What the user should hear of.
    """

    settings: Settings
    images: Part
    n_classes: int
    device: str
    precision: str

    def __post_init__(self) -> None:
        import torch

        settings = self.settings
        torch.manual_seed(key_of("weights", settings.seed))
        self.module = build(settings.network, self.n_classes, use_mask=settings.use_mask, dropout=settings.dropout)
        self.module.to(self.device)
        self.optimiser = make_optimiser(torch, self.module, settings)
        self.scaler = torch.amp.GradScaler(self.device.partition(":")[0], enabled=self.precision == "float16")
        self.micro, self.notes = settings.batch_size, list[str]()

    def step(self, batch: NDArray[np.intp], drawn: NDArray[np.float64], key: int) -> Any:
        """Take one step and return its loss, which the device may still be computing; in parts if memory is short.

        Parameters
        ----------
        batch : ndarray of int
            Positions of images.
        drawn : ndarray of shape (n, 16)
            What they are augmented by.
        key : int
            Seed of dropout.

        Raises
        ------
        TrainingError
            If memory suffices for not even two pictures at a time.
        """
        while True:
            try:
                loss = self._attempt(batch, drawn, key)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(batch), error)
        self.scaler.step(self.optimiser)  # not tried twice: half a step can't be taken back
        self.scaler.update()
        return loss

    def _attempt(self, batch: NDArray[np.intp], drawn: NDArray[np.float64], key: int) -> Any:
        import torch

        settings = self.settings
        torch.manual_seed(key)  # of dropout
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for some in parted(np.arange(len(batch)), self.micro):
            pixels = on_device(self.images.pixels[batch[some]], self.device)
            pixels = augment(pixels, drawn[some], STRENGTHS[settings.augmentation])
            codes = torch.from_numpy(self.images.codes[batch[some]]).to(self.device)
            with self.autocast():
                logits = self.module(normalised(settings.network, pixels, use_mask=settings.use_mask))
                loss = torch.nn.functional.cross_entropy(
                    logits.float(), codes, label_smoothing=settings.label_smoothing
                )
            share: Any = loss * (len(some) / len(batch))
            self.scaler.scale(share).backward()
            total += share.detach()
        return total

    def autocast(self) -> Any:
        """Make a context of the precision's arithmetic."""
        import torch

        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], getattr(torch, self.precision))

    def _halve(self, n_images: int, error: Exception) -> None:
        before = min(self.micro, n_images)
        self.micro = before // 2
        if self.micro < 2:
            raise TrainingError(
                f"not enough memory on {self.device} for {self.settings.network.name}, even for {before} pictures of "
                f"{self.settings.network.side_px} px at a time",
                remedy="Use smaller pictures (--image-size), or another device.",
            ) from error
        self.optimiser.zero_grad(set_to_none=True)
        free_memory()
        self.notes.append(
            f"memory was short for {before} pictures at a time: gradients of {self.micro} at a time are added up, "
            "and batch normalisation sees so many"
        )
