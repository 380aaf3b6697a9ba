"""Training one network: every epoch can be the last of a process, and the next goes on as if nothing had happened."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featstore.cnn.augment import draw
from featstore.cnn.batches import batches_of, key_of
from featstore.cnn.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from featstore.cnn.optimiser import freeze_body, load_moments, moments, rate_at, set_rate
from featstore.cnn.predicting import forward, reproducibly
from featstore.cnn.settings import Settings, as_config, differing
from featstore.cnn.steps import Part, Steps
from featstore.errors import ModelFormatError, TrainingError
from featstore.toolkit.logits import log_loss

__all__ = ["Epoch", "Trained", "train_network"]

_WRITING_SHARE = 0.05
"""Checkpoints are written as often as they may without taking more than this share of the time."""

_REMEDY = "Train with a lower learning rate (--lr), or with --precision float32."


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
        steps = Steps(settings, training, n_classes, device, precision)
        return _Training(steps, validation, checkpoint).run(callback)


class _Training:
    def __init__(self, steps: Steps, validation: Part | None, checkpoint: Path | None) -> None:
        self.steps, self.settings, self.module = steps, steps.settings, steps.module
        self.validation, self.path = validation, checkpoint
        self.history: list[Epoch] = []
        self.best: dict[str, Any] = {}
        self.best_epoch, self.done = 0, False
        what = {"precision": steps.precision, "classes": steps.n_classes, "images": self._digest()}
        self.config = as_config(steps.settings) | what
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
        return Trained(self.best, self.best_epoch, self.history, self.steps.notes)

    def _epoch(self, number: int) -> Epoch:
        settings, started = self.settings, time.perf_counter()
        freeze_body(self.module, number <= settings.frozen_epochs)
        codes = self.steps.images.codes
        batches = batches_of(codes, settings.batch_size, settings.sampling, settings.seed, number)
        losses: list[Any] = []
        seen = Counter[int]()
        for step, batch in enumerate(batches):
            set_rate(self.steps.optimiser, settings.lr * self._share(number, step, len(batches)))
            drawn = draw(settings.seed, [self._showing(image, seen) for image in batch.tolist()], number)
            losses.append(self.steps.step(batch, drawn, key_of("step", settings.seed, number, step)))
            if step:  # looked at one step late: the device computes meanwhile
                self._require_finite(losses, step - 1, number, len(batches))
        self._require_finite(losses, len(batches) - 1, number, len(batches))
        total = sum(float(loss) * len(batch) for loss, batch in zip(losses, batches, strict=True))
        validation_loss = math.nan if self.validation is None else self._validate(self.validation)
        rate = settings.lr * self._share(number, len(batches) - 1, len(batches))
        return Epoch(number, total / len(codes), validation_loss, rate, time.perf_counter() - started)

    def _showing(self, image: int, seen: Counter[int]) -> str:
        """Name an image's content, and how often it was shown in this epoch: no two showings look alike."""
        seen[image] += 1
        return f"{self.steps.images.digests[image]} {seen[image]}"

    def _share(self, epoch: int, step: int, steps: int) -> float:
        return rate_at(self.settings, (epoch - 1) * steps + step, steps)

    def _require_finite(self, losses: list[Any], step: int, epoch: int, steps: int) -> None:
        if not math.isfinite(float(losses[step])):
            raise self._diverged(epoch, step, steps)

    def _validate(self, validation: Part) -> float:
        logits = forward(self.module, self.settings, validation.pixels, self.steps.device, self.steps.micro)
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
        parts = [self.steps.images, *([self.validation] if self.validation else [])]
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
            tensors |= {f"optimiser.{name}": tensor for name, tensor in moments(self.steps.optimiser).items()}
        self._save(self.path, {"scaler": self.steps.scaler.state_dict()}, tensors)
        self._written = time.monotonic()
        self._writing = self._written - started

    def _save(self, path: Path, more: dict[str, Any], tensors: dict[str, Any]) -> None:
        history = [[e.epoch, e.loss, str(e.validation_loss), e.rate, e.seconds] for e in self.history]  # also NaN
        state = {"history": history, "best_epoch": self.best_epoch, "done": self.done, **more}
        state |= {"micro": self.steps.micro, "notes": self.steps.notes}
        write_checkpoint(path, Checkpoint(self.config, state, tensors))

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
        self.best_epoch, self.done, self.best = state["best_epoch"], state["done"], found.part("best")
        self.steps.micro, self.steps.notes = state["micro"], list(state["notes"])
        if not self.done:
            self.module.load_state_dict(found.part("network"))
            load_moments(self.steps.optimiser, found.part("optimiser"))
            self.steps.scaler.load_state_dict(state["scaler"])
