"""Training one network: every epoch can be the last of a process, and the next goes on as if nothing had happened."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.cnn.augment import STRENGTHS, augment, draw
from featstore.cnn.batches import batches_of, key_of, parted
from featstore.cnn.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from featstore.cnn.networks import build, normalised
from featstore.cnn.optimiser import freeze_body, load_moments, make_optimiser, moments, rate_at, set_rate
from featstore.cnn.predicting import forward, on_device, reproducibly
from featstore.cnn.settings import Settings, as_config, differing
from featstore.encoders.device import free_memory, is_out_of_memory
from featstore.errors import ModelFormatError, TrainingError
from featstore.toolkit.logits import log_loss

__all__ = ["Epoch", "Part", "Trained", "train_network"]

_WRITING_SHARE = 0.05
"""Checkpoints are written as often as they may without taking more than this share of the time."""

_REMEDY = "Train with a lower learning rate (--lr), or with --precision float32."


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures to train or to validate on: pixels (n, side, side, 4) uint8, a digest and a class position each."""

    pixels: NDArray[np.uint8]
    digests: list[str]
    codes: NDArray[np.intp]


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought.

    Attributes
    ----------
    epoch : int
        From 1.
    loss, validation_loss : float
        Mean cross-entropy in nats; the latter NaN without a validation part.
    rate : float
        Learning rate of its last step.
    seconds : float
        Wall time.
    """

    epoch: int
    loss: float
    validation_loss: float
    rate: float
    seconds: float = 0.0


@dataclass(eq=False)
class Trained:
    """The network as it was after its best epoch.

    Attributes
    ----------
    state : dict of str to Tensor
    best_epoch : int
    history : list of Epoch
    notes : list of str
        What the user should hear of.
    """

    state: dict[str, Any]
    best_epoch: int
    history: list[Epoch]
    notes: list[str] = field(default_factory=list)


def train_network(
    settings: Settings,
    training: Part,
    validation: Part | None,
    n_classes: int,
    *,
    device: str,
    precision: str,
    checkpoint: Path | None = None,
    callback: Callable[[Epoch], object] | None = None,
) -> Trained:
    """Train a network until its validation loss has not improved for a while, and return the best epoch's.

    On a CPU it computes on one core, so that sums are in one order: the same settings and pictures give the same bits,
    taken up again or not. On a GPU sums may differ in their last bits from run to run.

    Raises
    ------
    TrainingError
        If the loss is no finite number, or memory suffices for not even two pictures at a time.
    SettingError
        If the checkpoint is of another configuration.
    """
    import torch

    with reproducibly(torch, device):
        return _Training(torch, settings, training, validation, n_classes, device, precision, checkpoint).run(callback)


class _Training:
    def __init__(
        self,
        torch: Any,
        settings: Settings,
        training: Part,
        validation: Part | None,
        n_classes: int,
        device: str,
        precision: str,
        checkpoint: Path | None,
    ) -> None:
        self.torch, self.settings, self.training, self.validation = torch, settings, training, validation
        self.device, self.precision, self.path = device, precision, checkpoint
        torch.manual_seed(key_of("weights", settings.seed))
        self.module = build(settings.network, n_classes, use_mask=settings.use_mask, dropout=settings.dropout)
        self.module.to(device)
        self.optimiser = make_optimiser(torch, self.module, settings)
        self.scaler = torch.amp.GradScaler(device.partition(":")[0], enabled=precision == "float16")
        self.history: list[Epoch] = []
        self.best: dict[str, Any] = {}
        self.best_epoch, self.done, self.micro = 0, False, settings.batch_size
        self.notes: list[str] = []
        self.config = {**as_config(settings), "precision": precision, "classes": n_classes, "images": self._digest()}
        self._written, self._writing = time.monotonic(), 0.0
        self._resume()

    def run(self, callback: Callable[[Epoch], object] | None) -> Trained:
        while not self.done:
            found = self._epoch(len(self.history) + 1)
            self.history.append(found)
            self._note_best(found)
            enough = found.epoch - self.best_epoch >= self.settings.patience
            self.done = enough or found.epoch == self.settings.max_epochs
            self._write()
            if callback is not None:
                callback(found)
        if not self.best:
            raise TrainingError(
                f"no epoch of {len(self.history)} has a finite validation loss", expected="one", remedy=_REMEDY
            )
        return Trained(self.best, self.best_epoch, self.history, self.notes)

    def _epoch(self, number: int) -> Epoch:
        settings, started = self.settings, time.perf_counter()
        freeze_body(self.module, number <= settings.frozen_epochs)
        batches = batches_of(self.training.codes, settings.batch_size, settings.sampling, settings.seed, number)
        losses: list[Any] = []
        seen = Counter[int]()
        for step, batch in enumerate(batches):
            set_rate(self.optimiser, settings.lr * self._share(number, step, len(batches)))
            drawn = draw(settings.seed, [self._showing(image, seen) for image in batch.tolist()], number)
            losses.append(self._step(batch, drawn, key_of("step", settings.seed, number, step)))
            if step:  # looked at one step late: the device computes meanwhile
                self._require_finite(losses, step - 1, number, len(batches))
        self._require_finite(losses, len(batches) - 1, number, len(batches))
        loss = sum(float(loss) * len(batch) for loss, batch in zip(losses, batches, strict=True)) / len(
            self.training.codes
        )
        validation_loss = math.nan if self.validation is None else self._validate(self.validation)
        rate = settings.lr * self._share(number, len(batches) - 1, len(batches))
        return Epoch(number, loss, validation_loss, rate, time.perf_counter() - started)

    def _showing(self, image: int, seen: Counter[int]) -> str:
        """Name an image's content, and how often it was shown in this epoch: no two showings look alike."""
        seen[image] += 1
        return f"{self.training.digests[image]} {seen[image]}"

    def _share(self, epoch: int, step: int, steps: int) -> float:
        return rate_at(self.settings, (epoch - 1) * steps + step, steps)

    def _require_finite(self, losses: list[Any], step: int, epoch: int, steps: int) -> None:
        if not math.isfinite(float(losses[step])):
            raise self._diverged(epoch, step, steps)

    def _step(self, batch: NDArray[np.intp], drawn: NDArray[np.float64], key: int) -> Any:
        """Take one step and return its loss, which the device may still be computing; in parts if memory is short."""
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
        torch, settings = self.torch, self.settings
        torch.manual_seed(key)  # of dropout
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for some in parted(np.arange(len(batch)), self.micro):
            pixels = on_device(self.training.pixels[batch[some]], self.device)
            pixels = augment(pixels, drawn[some], STRENGTHS[settings.augmentation])
            codes = torch.from_numpy(self.training.codes[batch[some]]).to(self.device)
            with self._autocast():
                logits = self.module(normalised(settings.network, pixels, use_mask=settings.use_mask))
                loss = torch.nn.functional.cross_entropy(
                    logits.float(), codes, label_smoothing=settings.label_smoothing
                )
            share = loss * (len(some) / len(batch))
            self.scaler.scale(share).backward()
            total += share.detach()
        return total

    def _autocast(self) -> Any:
        if self.precision == "float32":
            return nullcontext()
        return self.torch.autocast(self.device.partition(":")[0], getattr(self.torch, self.precision))

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

    def _validate(self, validation: Part) -> float:
        logits = forward(self.module, self.settings, validation.pixels, self.device, self.micro)
        return log_loss(logits, validation.codes) if np.isfinite(logits).all() else math.inf

    def _note_best(self, found: Epoch) -> None:
        losses = [epoch.validation_loss for epoch in self.history[:-1]]
        if math.isnan(found.validation_loss) or found.validation_loss < min(losses, default=math.inf):
            self.best_epoch = found.epoch
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}

    def _diverged(self, epoch: int, step: int, steps: int) -> TrainingError:
        rate = self.settings.lr * self._share(epoch, step, steps)
        kept = "no epoch was finished before"
        if self.best:
            kept = f"the best epoch before was {self.best_epoch}"
            if self.path is not None:
                aside = self.path.with_suffix(".best.safetensors")
                self._save(aside, {}, {f"best.{name}": tensor for name, tensor in self.best.items()})
                kept += f", and is kept in {aside}"
        return TrainingError(
            f"the loss is not finite at epoch {epoch}, step {step + 1} of {steps}, at a learning rate of {rate:.2g}; "
            f"{kept}",
            expected="a finite loss",
            remedy=_REMEDY + (f" Delete {self.path} first, or use another folder." if self.path else ""),
        )

    def _digest(self) -> str:
        parts = [self.training, *([self.validation] if self.validation else [])]
        texts = [f"{d}:{c}" for part in parts for d, c in zip([*part.digests, "|"], [*part.codes, -1], strict=True)]
        return f"{key_of('images', *texts):016x}"

    def _write(self) -> None:
        """Write a checkpoint, unless the last one is so fresh that writing would cost more than going back to it."""
        if self.path is None:
            return
        if not self.done and time.monotonic() - self._written < self._writing / _WRITING_SHARE:
            return
        started = time.monotonic()
        tensors = {f"best.{name}": tensor for name, tensor in self.best.items()}
        if not self.done:
            tensors |= {f"network.{name}": tensor for name, tensor in self.module.state_dict().items()}
            tensors |= {f"optimiser.{name}": tensor for name, tensor in moments(self.optimiser).items()}
        self._save(self.path, {"scaler": self.scaler.state_dict()}, tensors)
        self._written = time.monotonic()
        self._writing = self._written - started

    def _save(self, path: Path, more: dict[str, Any], tensors: dict[str, Any]) -> None:
        history = [[e.epoch, e.loss, str(e.validation_loss), e.rate, e.seconds] for e in self.history]  # also NaN
        state = {"history": history, "best_epoch": self.best_epoch, "done": self.done, "micro": self.micro, **more}
        write_checkpoint(path, Checkpoint(self.config, {**state, "notes": self.notes}, tensors))

    def _resume(self) -> None:
        found = read_checkpoint(self.path, self.config, differing) if self.path is not None else None
        if found is None:
            return
        try:
            self._take_up(found)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFormatError(
                f"{self.path} does not hold together ({type(error).__name__}: {error})", remedy="Delete it."
            ) from error

    def _take_up(self, found: Checkpoint) -> None:
        state = found.state
        self.history = [Epoch(e, loss, float(later), *rest) for e, loss, later, *rest in state["history"]]
        self.best_epoch, self.done, self.micro = state["best_epoch"], state["done"], state["micro"]
        self.notes, self.best = list(state["notes"]), found.part("best")
        if not self.done:
            self.module.load_state_dict(found.part("network"))
            load_moments(self.optimiser, found.part("optimiser"))
            self.scaler.load_state_dict(state["scaler"])
