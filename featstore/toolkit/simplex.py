"""Weights that sum to 1: the grid they are searched on, and which of its points is chosen."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.toolkit.logits import Logits, cross_entropy

__all__ = ["best_weights", "grid", "macro_f1"]

_STEPS_OF_TWO = 100
_MOST_POINTS = 2000
_CELLS_AT_ONCE = 1 << 22
# Sums of quotients of small whole numbers: what differs by less is equal.
_EQUAL = 1e-9
_PULL = 3.0
"""Nats, for all images together, that a squared distance of 1 from equal weights must be worth."""


def best_weights(
    logits: Logits, codes: NDArray[np.intp], sample_weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return one weight a head: equal ones, unless the images tell better ones.

    The highest macro-F1 over the few dozen images of a validation part is luck: on new images its weights, and the
    middle of their plateau too, do worse than equal ones where heads are alike. So the plateau is taken as wide as the
    images can tell: all grid points whose macro-F1 is within one standard error of the highest (Breiman et al., 1984,
    *Classification and Regression Trees*, section 3.4.3). Of these the log-loss, which uses all of the probabilities,
    chooses, with a pull to equal weights that counts less the more images there are. Equal weights stay unless the
    log-loss there is lower by more than a standard error, image by image. ``tests/benchmarks/fusing.py`` compares
    this with other choices.

    Parameters
    ----------
    logits : ndarray of shape (n_heads, n, n_classes)
        Calibrated.
    codes : ndarray of shape (n,), int
        Positions of the true classes.
    sample_weight : ndarray of shape (n,), optional
        What each image counts.

    Returns
    -------
    ndarray of shape (n_heads,)
        They sum to 1: equal, or multiples of the grid's step.
    """
    counts = np.ones(len(codes)) if sample_weight is None else sample_weight / sample_weight.max()
    n = counts.sum() ** 2 / (counts**2).sum()  # images of equal weight that would tell as much
    equal = np.full(len(logits), 1 / len(logits))
    points = grid(len(logits))
    weights = points / points[0].sum()
    scores, losses = _scored(weights, logits, codes, counts)
    highest = min(scores.max(), 1.0)  # which a sum of weights may miss by a rounding
    plateau = scores >= highest - np.sqrt(highest * (1 - highest) / n) - _EQUAL
    pulled = losses + _PULL / n * ((weights - equal) ** 2).sum(axis=1)
    chosen: NDArray[np.float64] = weights[np.where(plateau, pulled, np.inf).argmin()]
    gains = cross_entropy(np.tensordot(equal, logits, axes=1), codes)
    gains -= cross_entropy(np.tensordot(chosen, logits, axes=1), codes)
    gain = np.average(gains, weights=counts)
    variance = np.average((gains - gain) ** 2, weights=counts) / max(n - 1, _EQUAL)
    return chosen if gain > np.sqrt(variance) + _EQUAL and n > 1 else equal


def grid(n_heads: int) -> NDArray[np.int64]:
    """Return every way to share out a number of steps among the heads, (n_points, n_heads).

    100 steps between two heads (101 points); with more heads as many as keep to 2000 points: 60 with three, 20 with
    four, 10 with five. The corners, one head alone, are always among them, and up to six heads so are equal shares.
    """
    steps = _STEPS_OF_TWO
    while steps > 1 and comb(steps + n_heads - 1, n_heads - 1) > _MOST_POINTS:
        steps -= 1
    steps = steps - steps % n_heads or steps
    return np.array(_shares(steps, n_heads), dtype=np.int64)


def macro_f1(
    predicted: NDArray[Any], codes: NDArray[np.intp], n_classes: int, sample_weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the macro-F1 of several predictions (n_points, n) at once, over classes that are true or predicted."""
    counts = np.ones(len(codes)) if sample_weight is None else sample_weight
    scores = np.zeros(len(predicted))
    present = np.zeros(len(predicted))
    for label in range(n_classes):
        true, given = codes == label, predicted == label
        either = given @ counts + true @ counts
        present += either > 0
        scores += 2 * ((given & true) @ counts) / np.where(either > 0, either, 1)
    return scores / present


def _scored(
    weights: NDArray[np.float64], logits: Logits, codes: NDArray[np.intp], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return macro-F1 and log-loss at each point, a few at a time, so that memory stays small with many images."""
    at_once = max(1, _CELLS_AT_ONCE // logits[0].size)
    scores, losses = [], []
    for start in range(0, len(weights), at_once):
        fused = np.tensordot(weights[start : start + at_once], logits, axes=1)
        scores.append(macro_f1(fused.argmax(axis=-1), codes, logits.shape[2], counts))
        losses.append(cross_entropy(fused, codes) @ counts / counts.sum())
    return np.concatenate(scores), np.concatenate(losses)


def _shares(steps: int, n_heads: int) -> list[tuple[int, ...]]:
    if n_heads == 1:
        return [(steps,)]
    return [(first, *rest) for first in range(steps + 1) for rest in _shares(steps - first, n_heads - 1)]
