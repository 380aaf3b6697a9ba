"""Resamples of images, groups kept whole, and intervals from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "interval", "resampled_weights", "widened"]

RESAMPLES = 2000
LEVEL = 0.95

_CELLS_AT_ONCE = 1 << 22


def resampled_weights(
    groups: NDArray[Any], n_resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[NDArray[np.float64]]:
    """Draw groups with replacement, and tell how often each resample has each image, some resamples at a time.

    Images of one group (patient, slide, twins) say much the same, so they come and go together: as if they were drawn
    one by one, intervals would be too narrow.

    Parameters
    ----------
    groups : ndarray of shape (n_images,)
    n_resamples : int
    seed : int

    Yields
    ------
    ndarray of shape (some, n_images), float64
    """
    _, member = np.unique(groups, return_inverse=True)
    n_groups = int(member.max()) + 1
    random = np.random.RandomState(seed)
    at_once = max(1, _CELLS_AT_ONCE // max(len(groups), n_groups))
    for start in range(0, n_resamples, at_once):
        some = min(at_once, n_resamples - start)
        drawn = random.randint(n_groups, size=(some, n_groups)) + np.arange(some)[:, None] * n_groups
        counts = np.bincount(drawn.ravel(), minlength=some * n_groups).reshape(some, n_groups)
        yield counts[:, member].astype(np.float64)


def interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """Return the middle ``level`` of resampled values: the percentile interval (Efron, 1979)."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def widened(middle: float, limits: tuple[float, float], n_splits: int) -> tuple[float, float]:
    """Widen an interval of a cross-validated figure by what its models have in common.

    Resampling images takes the models as given. Those of different folds share most of their training images, and with
    other ones all of them would have been others: for that Nadeau and Bengio (2003, doi:10.1023/A:1024068626366) add
    ``n_test / n_train`` to the ``1 / n_splits`` of the variance of a mean over folds.

    Parameters
    ----------
    middle : float
        The figure.
    limits : tuple of 2 floats
    n_splits : int
        Folds of the cross-validation, 2 or more.

    Returns
    -------
    tuple of 2 floats
        With ten folds 1.45 times as far from the middle.
    """
    factor = math.sqrt(1 + n_splits / (n_splits - 1))
    low, high = limits
    return middle - factor * (middle - low), middle + factor * (high - middle)
