"""Arithmetic of runs, which are consecutive rows that belong together, and of pieces to be read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pieces", "run_means", "run_numbers", "run_starts", "rows_of_runs"]


def run_starts(*columns: NDArray[Any]) -> NDArray[np.intp]:
    """Tell the first row of each run of rows that are equal in every column."""
    first = np.zeros(len(columns[0]), dtype=np.bool_)
    first[:1] = True
    for column in columns:
        first[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(first)


def run_numbers(starts: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Tell the number of its run for each of ``count`` rows."""
    return np.repeat(np.arange(len(starts)), np.diff(starts, append=count))


def rows_of_runs(starts: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """List the rows of runs, run after run: ``counts[i]`` rows from ``starts[i]`` on."""
    before = np.cumsum(counts) - counts
    rows: NDArray[np.intp] = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
    return rows


def run_means(
    stored: NDArray[np.floating[Any]], rows: NDArray[np.intp], starts: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Mean over each run of rows, (n_runs, dim), summed in double precision; run i begins at ``rows[starts[i]]``.

    Run by run, which is several times as fast as ``np.add.reduceat`` with its casts, and copies no more than one.
    """
    counts = np.diff(starts, append=len(rows))
    means = np.empty((len(starts), stored.shape[1]), dtype=np.float32)
    for run, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
        means[run] = stored[rows[start : start + count]].sum(axis=0, dtype=np.float64) / count
    return means


def pieces(count: int, row_bytes: int, budget: int = 1 << 24) -> Iterator[slice]:
    """Cut rows into pieces of at most ``budget`` bytes, or of one row where that is larger."""
    step = max(1, budget // max(1, row_bytes))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))
