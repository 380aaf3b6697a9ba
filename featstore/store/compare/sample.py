"""A few embeddings that stand for all of a store, to be made again from the images and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError, SettingError
from featstore.store.compare.cosines import Compared, CosineSummary, KeyCosine, cosines, worst_keys
from featstore.store.keys import number_images
from featstore.store.reader import Store

__all__ = ["Sample", "SampleCheck", "check_sample", "sample_keys"]


class Sample(NamedTuple):
    """Some of a store's keys, and their positions in ``Store.keys``; both in key order."""

    keys: NDArray[np.void]
    positions: NDArray[np.intp]


@dataclass(frozen=True)
class SampleCheck:
    """How embeddings that were made again compare with those stored.

    Attributes
    ----------
    cosines : CosineSummary
        ``identical`` counts those that would be stored as the same bits.
    worst : tuple of KeyCosine
        The worst key, and none where all are identical.
    problems : tuple of str
        Empty when every cosine is large enough.
    """

    cosines: CosineSummary
    worst: tuple[KeyCosine, ...]
    problems: tuple[str, ...]


def sample_keys(store: Store, n: int, seed: int = 0) -> Sample:
    """Choose keys at random, spread over the images: every image once before any twice, clean and augmented in turn.

    Parameters
    ----------
    store : Store
    n : int
        How many; all where the store has fewer.
    seed : int
        One seed and one version of a store give one sample.

    Returns
    -------
    Sample
    """
    if n < 1:
        raise SettingError(f"a sample of {n} embeddings", expected="1 or more")
    keys = store.keys
    names, image = number_images(keys)
    chance = np.random.default_rng(seed)
    place = chance.permutation(len(names))[image]
    augmented = (keys["repeat"] > 0).astype(np.intp)
    drawn = _rank_within(2 * image + augmented, chance.random(len(keys)))
    turn = _rank_within(image, 2 * drawn + (augmented != place % 2))
    positions = np.sort(np.lexsort((place, turn))[:n])
    return Sample(keys[positions], positions)


def check_sample(store: Store, sample: Sample, embeddings: ArrayLike, min_cosine: float) -> SampleCheck:
    """Compare embeddings that were made again with those of the store.

    Parameters
    ----------
    store : Store
    sample : Sample
    embeddings : array-like of shape (n, dim)
        One for each key of the sample.
    min_cosine : float
        A smaller cosine is a problem, and so is one that is not defined.

    Returns
    -------
    SampleCheck

    Raises
    ------
    DataError
        If the embeddings are not of the sample's shape.
    """
    stored, again = store.take(sample.positions), np.asarray(embeddings, dtype=np.float32)
    if again.shape != stored.shape:
        raise DataError(f"embeddings of shape {again.shape} for a sample of {store.path}", expected=str(stored.shape))
    with np.errstate(over="ignore"):  # what half precision can't hold is another number, and counts as one
        rounded = again.astype(store.dtype).astype(np.float32)
    identical = (rounded.view(np.uint32) == stored.view(np.uint32)).all(axis=1)
    cosine = cosines(stored, again)
    difference = np.abs(stored.astype(np.float64) - again).max(initial=0.0)
    compared = Compared(cosine, identical, float(difference))
    worst = worst_keys(sample.keys, compared, 1)
    low = ~identical & ~(cosine >= min_cosine)
    problems = (_problem(low, sample.keys["repeat"], worst[0], min_cosine),) if low.any() else ()
    return SampleCheck(CosineSummary.of(compared), worst, problems)


def _problem(low: NDArray[np.bool_], repeat: NDArray[np.int32], worst: KeyCosine, min_cosine: float) -> str:
    clean = int((low & (repeat == 0)).sum())
    which = f"{clean} of them clean crops" if clean else "none of them a clean crop"
    found = f"{low.sum()} of {len(low)} embeddings that were made again differ from those stored"
    return f"{found} (cosine below {min_cosine}, {which}); the worst is {worst}"


def _rank_within(group: NDArray[np.intp], value: NDArray[np.floating | np.integer]) -> NDArray[np.intp]:
    """Rank each row among those of its group, the smallest value first."""
    order = np.lexsort((value, group))
    ordered = group[order]
    first = np.searchsorted(ordered, ordered)
    rank = np.empty(len(group), dtype=np.intp)
    rank[order] = np.arange(len(group)) - first
    return rank
