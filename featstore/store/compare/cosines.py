"""Cosines between two sets of embeddings of the same keys, and what is told of their distribution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.store.runs import pieces

__all__ = [
    "QUANTILES",
    "Compared",
    "CosineSummary",
    "KeyCosine",
    "Rows",
    "compare_rows",
    "cosines",
    "worst_keys",
    "written",
]

QUANTILES = (0.001, 0.01, 0.05, 0.5)
CHUNK_BYTES = 2**24


class Rows(Protocol):
    """Where embeddings are read from; a store is one."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    def take(self, indices: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read the rows at these positions."""


class Compared(NamedTuple):
    """What a comparison of n pairs of embeddings gave.

    ``cosine`` (n,) float64 is NaN where it is not defined; ``identical`` (n,) means bit for bit; ``largest_difference``
    is between any two numbers of a pair.
    """

    cosine: NDArray[np.float64]
    identical: NDArray[np.bool_]
    largest_difference: float


@dataclass(frozen=True)
class CosineSummary:
    """The distribution of the cosines of pairs of embeddings; numbers are None where there is no pair.

    Attributes
    ----------
    count : int
        Pairs compared.
    identical : int
        Pairs that are equal bit for bit.
    undefined : int
        Pairs without a cosine, because one of the two is all zeros or not finite; the figures below leave them out.
    min, mean : float
    quantiles : dict of str to float
        By share; each is a cosine that occurs.
    largest_difference : float
        Between any two numbers of a pair, absolute.
    """

    count: int
    identical: int
    undefined: int
    min: float | None = None
    mean: float | None = None
    quantiles: dict[str, float] = field(default_factory=dict)
    largest_difference: float | None = None

    @classmethod
    def of(cls, compared: Compared) -> CosineSummary:
        """Summarise a comparison."""
        cosine = compared.cosine[np.isfinite(compared.cosine)]
        count = len(compared.cosine)
        counts = (count, int(compared.identical.sum()), count - len(cosine))
        largest = float(compared.largest_difference) if count else None
        if len(cosine) == 0:
            return cls(*counts, largest_difference=largest)
        values = np.quantile(cosine, QUANTILES, method="lower")
        quantiles = {str(share): float(value) for share, value in zip(QUANTILES, values, strict=True)}
        return cls(*counts, float(cosine.min()), float(cosine.mean()), quantiles, largest)


@dataclass(frozen=True)
class KeyCosine:
    """The cosine of one key, None where it is not defined."""

    image: str
    blob: int
    repeat: int
    cosine: float | None

    def __str__(self) -> str:
        cosine = "no cosine" if self.cosine is None else written(self.cosine)
        return f"{cosine} ({self.image}, blob {self.blob}, repeat {self.repeat})"


def written(cosine: float) -> str:
    """Write a cosine so that one just below 1 does not look like 1."""
    if cosine > 1 - 1e-9:
        return f"1 - {1 - cosine:.1g}" if cosine < 1 else "1"
    return f"{cosine:.9f}"


def worst_keys(keys: NDArray[np.void], compared: Compared, count: int) -> tuple[KeyCosine, ...]:
    """Name the keys that differ most, those without a cosine first; identical ones are not among them.

    Parameters
    ----------
    keys : structured array of shape (n,)
        Keys of the pairs that were compared.
    compared : Compared
    count : int
        At most so many.
    """
    badness = np.where(np.isnan(compared.cosine), -2.0, compared.cosine)
    badness[compared.identical] = 2.0
    order = np.argsort(badness, kind="stable")[:count]
    return tuple(_key_cosine(keys[row], compared.cosine[row]) for row in order if not compared.identical[row])


def _key_cosine(key: np.void, cosine: float) -> KeyCosine:
    defined = None if np.isnan(cosine) else float(cosine)
    return KeyCosine(str(key["image"]), int(key["blob"]), int(key["repeat"]), defined)


def cosines(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Compute the cosine of each row of ``a`` with the same row of ``b``, in double precision.

    Equal rows give exactly 1. Squares of float32 neither overflow nor vanish in float64, so no scaling is needed.

    Parameters
    ----------
    a, b : array-like of shape (n, dim)

    Returns
    -------
    ndarray of shape (n,), float64
        NaN where one of the two is all zeros or not finite.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        product, one, other = (np.einsum("ij,ij->i", *pair) for pair in ((left, right), (left, left), (right, right)))
        cosine: NDArray[np.float64] = np.clip(product / np.sqrt(one * other), -1.0, 1.0)
    cosine[(one == 0) | (other == 0) | ~np.isfinite(one) | ~np.isfinite(other)] = np.nan
    return cosine


def compare_rows(a: Rows, rows_a: NDArray[np.intp], b: Rows, rows_b: NDArray[np.intp]) -> Compared:
    """Compare embeddings of two stores pair by pair; memory is bounded however many there are.

    Parameters
    ----------
    a, b : Rows
        Of one ``dim``.
    rows_a, rows_b : ndarray of shape (n,), int
        Positions in the keys of each; the same place is the same pair.

    Returns
    -------
    Compared
    """
    cosine = np.empty(len(rows_a), dtype=np.float64)
    identical = np.empty(len(rows_a), dtype=np.bool_)
    largest = 0.0
    for part in pieces(len(rows_a), 4 * a.dim, CHUNK_BYTES):
        one, other = a.take(rows_a[part]), b.take(rows_b[part])
        cosine[part] = cosines(one, other)
        identical[part] = (one.view(np.uint32) == other.view(np.uint32)).all(axis=1)
        largest = max(largest, _largest_difference(one, other))
    return Compared(cosine, identical, largest)


def _largest_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """In double precision, over the pairs that are finite: two float32 can differ by more than float32 can hold."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(one.astype(np.float64) - other)
    return float(difference.max(initial=0.0, where=np.isfinite(difference)))
