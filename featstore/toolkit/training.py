"""The training loop of `MLPHead`: torch tensors on one core, no autograd modules, no loader, no global state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import SettingError
from featstore.store.instances import Located
from featstore.store.runs import pieces
from featstore.toolkit.logits import log_loss

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["Optimisation", "Part", "Trained", "segment_means", "train"]

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8
_FEWEST_BATCHES, _SMALLEST_BATCH = 16, 8


@dataclass(frozen=True)
class Optimisation:
    """How to train; the fields are `MLPHead`'s parameters."""

    hidden: tuple[int, ...]
    dropout: float
    lr: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    patience: int


@dataclass(frozen=True)
class Part:
    """Embeddings and where they belong.

    Attributes
    ----------
    rows : Located
        Embeddings, which stay where they are; ``image`` ascends.
    first, count : ndarray of shape (n_units,), int
        Where the rows of a unit (the repeats of one blob, or of one image's mean) start, and how many there are.
    codes : ndarray of shape (n_images,), int
        Position of each image's class.
    weights : ndarray of shape (n_images,), float
        What each image counts.
    """

    rows: Located
    first: NDArray[np.intp]
    count: NDArray[np.intp]
    codes: NDArray[np.intp]
    weights: NDArray[np.float64]

    def unit_weights(self) -> NDArray[np.float32]:
        """Share an image's weight among its units; 1 on average."""
        image = self.rows.image[self.first]
        weights = self.weights[image] / self.weights.max() / np.bincount(image, minlength=len(self.codes))[image]
        scaled: NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
        return scaled


@dataclass(frozen=True)
class Trained:
    """Weights that take raw embeddings, and how training went; losses are the validation log-loss after each epoch."""

    coefs: list[NDArray[np.float64]]
    intercepts: list[NDArray[np.float64]]
    n_epochs: int
    best_epoch: int
    losses: list[float]


def train(part: Part, validation: Part | None, n_classes: int, how: Optimisation, seed: int) -> Trained:
    """Train a multi-layer perceptron by AdamW on the weighted cross-entropy.

    An epoch shows every unit once, in one of its repeats drawn at random: as in the augmentation of images on the fly,
    an epoch costs the same however many repeats are stored.

    Parameters
    ----------
    part : Part
        All repeats of the training images.
    validation : Part, optional
        Clean repeats. Training stops when the log-loss of image logits (their mean over units) has not improved for
        ``patience`` epochs, and the best weights are restored. Without it, all epochs run.
    n_classes : int
    how : Optimisation
    seed : int
        Of every random number drawn here.

    Returns
    -------
    Trained
    """
    import torch

    with _one_thread(torch):
        generator = torch.Generator().manual_seed(seed)
        columns = _Columns(torch, part.rows)
        network = _Network(torch, (part.rows.stored.shape[1], *how.hidden, n_classes), how, generator)
        watch = _Watch(torch, network, validation, columns, how.patience)
        for _ in range(how.max_epochs):
            network.epoch(part, columns)
            if watch.stop():
                break
        return _unstandardised(watch, columns)


class _Columns:
    """Means and scales of the columns (1 where one is constant); rows are standardised as they are needed."""

    def __init__(self, torch: Any, rows: Located) -> None:
        count, dim = len(rows.row), rows.stored.shape[1]
        mean, variance = np.zeros(dim), np.zeros(dim)
        for piece in pieces(count, 8 * dim):
            mean += rows.gather(piece).sum(axis=0, dtype=np.float64) / count
        for piece in pieces(count, 8 * dim):
            variance += ((rows.gather(piece) - mean) ** 2).sum(axis=0) / count
        scale = np.sqrt(variance)
        # A spread that float32 can't tell from rounding would only blow rounding up.
        scale[scale <= 10 * np.finfo(np.float32).eps * np.abs(mean)] = 1.0
        self.torch = torch
        self.mean = torch.from_numpy(mean.astype(np.float32))
        self.scale = torch.from_numpy(scale.astype(np.float32))

    def standardised(self, rows: NDArray[np.float32]) -> Tensor:
        """Standardise rows in place."""
        standardised: Tensor = self.torch.from_numpy(rows).sub_(self.mean).div_(self.scale)
        return standardised


class _Network:
    """Weights, and AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101) under a cosine schedule.

    Written out because torch's own optimiser imports its compiler, which costs a process more than a fold's training.
    """

    def __init__(self, torch: Any, sizes: tuple[int, ...], how: Optimisation, generator: Generator) -> None:
        self.torch, self.how, self.generator = torch, how, generator
        self.parameters: list[Tensor] = []
        for n_in, n_out in pairwise(sizes):
            bound = 1 / math.sqrt(n_in)
            self.parameters.append((2 * torch.rand(n_in, n_out, generator=generator) - 1) * bound)
            self.parameters.append(torch.zeros(n_out))
        for parameter in self.parameters:
            parameter.requires_grad_()
        self.first_moments = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.second_moments = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = 0

    def forward(self, rows: Tensor, *, drop: bool) -> Tensor:
        keep = 1 - self.how.dropout
        for layer in range(0, len(self.parameters) - 2, 2):
            rows = self.torch.addmm(self.parameters[layer + 1], rows, self.parameters[layer]).relu()
            if drop and keep < 1:
                rows = rows * ((self.torch.rand(rows.shape, generator=self.generator) < keep) / keep)
        logits: Tensor = self.torch.addmm(self.parameters[-1], rows, self.parameters[-2])
        return logits

    def epoch(self, part: Part, columns: _Columns) -> None:
        torch = self.torch
        first, count = torch.from_numpy(part.first), torch.from_numpy(part.count)
        codes, weights = part.codes[part.rows.image[part.first]], part.unit_weights()
        codes, weights = torch.from_numpy(codes), torch.from_numpy(weights)
        n = len(first)
        drawn = first + (torch.rand(n, generator=self.generator) * count).long()
        order = torch.randperm(n, generator=self.generator)
        size = min(self.how.batch_size, max(_SMALLEST_BATCH, n // _FEWEST_BATCHES))
        total = self.how.max_epochs * math.ceil(n / size)
        for start in range(0, n, size):
            batch = order[start : start + size]
            logits = self.forward(columns.standardised(part.rows.gather(drawn[batch].numpy())), drop=True)
            losses = torch.nn.functional.cross_entropy(logits, codes[batch], reduction="none")
            loss = (losses * weights[batch]).mean()
            self._step(torch.autograd.grad(loss, self.parameters), self.how.lr * _cosine(self.steps / total))

    def _step(self, gradients: tuple[Tensor, ...], lr: float) -> None:
        self.steps += 1
        first_debias, second_debias = 1 - _BETA1**self.steps, 1 - _BETA2**self.steps
        moments = zip(self.first_moments, self.second_moments, strict=True)
        with self.torch.no_grad():
            for parameter, gradient, (first, second) in zip(self.parameters, gradients, moments, strict=True):
                first.lerp_(gradient, 1 - _BETA1)
                second.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
                if parameter.ndim > 1:
                    parameter.mul_(1 - lr * self.how.weight_decay)
                parameter.addcdiv_(first, (second / second_debias).sqrt_().add_(_EPS), value=-lr / first_debias)


class _Watch:
    """Early stopping: keeps the weights of the best epoch so far, those of the last one without a validation part."""

    def __init__(
        self, torch: Any, network: _Network, validation: Part | None, columns: _Columns, patience: int
    ) -> None:
        self.torch, self.network, self.validation, self.patience = torch, network, validation, patience
        self.losses: list[float] = []
        self.best_epoch, self.n_epochs = 0, 0
        self.best: list[Tensor] = []
        if validation is not None:
            self.rows = columns.standardised(validation.rows.gather(slice(None)))

    def stop(self) -> bool:
        self.n_epochs += 1
        if self.validation is not None:
            self.losses.append(self._loss(self.validation))
        if not self.losses or self.losses[-1] < min(self.losses[:-1], default=math.inf):
            self.best_epoch = self.n_epochs
            self.best = [parameter.detach().clone() for parameter in self.network.parameters]
        return self.n_epochs - self.best_epoch >= self.patience

    def _loss(self, validation: Part) -> float:
        with self.torch.no_grad():
            logits = self.network.forward(self.rows, drop=False).numpy().astype(np.float64)
        return log_loss(segment_means(logits, validation.rows.image), validation.codes, validation.weights)


def segment_means(values: NDArray[np.float64], image: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean of ``values`` (n_rows, k) over the rows of each image, (n_images, k); ``image`` ascends."""
    first = np.flatnonzero(np.diff(image, prepend=-1))
    counts = np.diff(first, append=len(image))
    means: NDArray[np.float64] = np.add.reduceat(values, first, axis=0) / counts[:, None]
    return means


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _unstandardised(watch: _Watch, columns: _Columns) -> Trained:
    """Fold the standardisation into the first layer, in double precision."""
    if not watch.best:
        raise SettingError(
            "training diverged: no epoch has a finite validation loss", expected="one", remedy="Use a smaller lr."
        )
    arrays = [parameter.numpy().astype(np.float64) for parameter in watch.best]
    coefs, intercepts = arrays[::2], arrays[1::2]
    coefs[0] = coefs[0] / columns.scale.numpy().astype(np.float64)[:, None]
    intercepts[0] = intercepts[0] - columns.mean.numpy().astype(np.float64) @ coefs[0]
    return Trained(coefs, intercepts, watch.n_epochs, watch.best_epoch, watch.losses)


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Give torch one thread, so that sums keep one order on every machine, and the caller's number again afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
