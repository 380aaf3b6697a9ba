"""Weights that sum to 1: the grid they are searched on, and the middle of the best plateau."""

from __future__ import annotations

from itertools import permutations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.toolkit.logits import Logits, log_loss

__all__ = ["best_weights", "grid", "macro_f1"]

_STEPS_OF_TWO = 100
_MOST_POINTS = 2000
_CELLS_AT_ONCE = 1 << 22
# Sums of quotients of small whole numbers: what differs by less is equal.
_EQUAL = 1e-9


def best_weights(logits: Logits, codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return one weight a head: the middle of the plateau on which the fused logits' macro-F1 is highest.

    A maximum of macro-F1 over the few dozen images of a validation part is a plateau, and often there are several,
    the narrow ones by luck. Grid points with the highest macro-F1 that are one step apart form a plateau. The one
    with the most points is taken, and of its points the one nearest to its centre. Among equals (plateaus of one
    size, points equally near) the log-loss decides.

    Parameters
    ----------
    logits : ndarray of shape (n_heads, n, n_classes)
        Calibrated.
    codes : ndarray of shape (n,), int
        Positions of the true classes.

    Returns
    -------
    ndarray of shape (n_heads,)
        They sum to 1; each is a multiple of the grid's step.
    """
    points = grid(len(logits))
    weights = points / points[0].sum()
    scores = _scores(weights, logits, codes)
    best = np.flatnonzero(scores >= scores.max() - _EQUAL)

    def loss(index: int) -> float:
        return log_loss(np.tensordot(weights[index], logits, axes=1), codes)

    plateaus = _plateaus(points[best])
    largest = max(len(plateau) for plateau in plateaus)
    middles = [min(_central(points, best[plateau]), key=loss) for plateau in plateaus if len(plateau) == largest]
    chosen: NDArray[np.float64] = weights[min(middles, key=loss)]
    return chosen


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


def macro_f1(predicted: NDArray[Any], codes: NDArray[np.intp], n_classes: int) -> NDArray[np.float64]:
    """Return the macro-F1 of several predictions (n_points, n) at once, over classes that are true or predicted."""
    scores = np.zeros(len(predicted))
    present = np.zeros(len(predicted))
    for label in range(n_classes):
        true, given = codes == label, predicted == label
        both = (given & true).sum(axis=1)
        either = given.sum(axis=1) + true.sum()
        scores += 2 * both / np.maximum(either, 1)
        present += either > 0
    return scores / present


def _scores(weights: NDArray[np.float64], logits: Logits, codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the macro-F1 at each point, a few at a time, so that memory stays small with many images."""
    at_once = max(1, _CELLS_AT_ONCE // logits[0].size)
    parts = [
        macro_f1(np.tensordot(weights[start : start + at_once], logits, axes=1).argmax(axis=-1), codes, logits.shape[2])
        for start in range(0, len(weights), at_once)
    ]
    return np.concatenate(parts)


def _shares(steps: int, n_heads: int) -> list[tuple[int, ...]]:
    if n_heads == 1:
        return [(steps,)]
    return [(first, *rest) for first in range(steps + 1) for rest in _shares(steps - first, n_heads - 1)]


def _plateaus(points: NDArray[np.int64]) -> list[list[int]]:
    """Return the connected parts of the points; neighbours differ by one step moved from one head to another."""
    steps = np.eye(points.shape[1], dtype=np.int64)
    moves = [up - down for up, down in permutations(steps, 2)]
    position = {tuple(point): index for index, point in enumerate(points.tolist())}
    left, parts = set(range(len(points))), []
    while left:
        part, reached = [], [min(left)]
        left.discard(reached[0])
        while reached:
            index = reached.pop()
            part.append(index)
            neighbours = (position.get(tuple((points[index] + move).tolist())) for move in moves)
            new = [other for other in neighbours if other is not None and other in left]
            left.difference_update(new)
            reached.extend(new)
        parts.append(sorted(part))
    return parts


def _central(points: NDArray[np.int64], plateau: NDArray[np.intp]) -> list[int]:
    members = points[plateau]
    # In whole numbers, so that points equally near are told to be so.
    distance = ((members * len(members) - members.sum(axis=0)) ** 2).sum(axis=1)
    return [int(index) for index in plateau[distance == distance.min()]]
