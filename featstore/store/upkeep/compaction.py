"""Compaction: many small segments, and those of whose rows few still count, are written anew as few large ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featstore.store.disk.commits import Change, commit
from featstore.store.disk.segments import SEGMENT_BYTES, Segment
from featstore.store.disk.versions import SEGMENTS, Version
from featstore.store.index import KeyIndex
from featstore.store.upkeep.rewrite import Stored, write_segments

__all__ = ["compact"]


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is to be written anew.

    Attributes
    ----------
    chosen : list of int
        Segments that go.
    rows : ndarray of shape (n,), int
        Their rows that count.
    boxed : ndarray of shape (m,), int32
        Images that have boxes in them: their rows may all count in another segment.
    """

    chosen: list[int]
    rows: NDArray[np.intp]
    boxed: NDArray[np.int32]


def compact(newest: Version, *, apply: bool) -> tuple[int, int] | None:
    """Write segments anew; return the number of segments and the version then, None where nothing would be gained.

    Raises
    ------
    StoreFormatError, StoreWriteError
        If a row can't be read, a segment not be written, or another writer replaced one meanwhile.
    """
    entries, segments = newest.segments, newest.read_segments()
    stored = Stored.of(segments, newest.images, newest.dim, newest.dtype)
    plan = _plan(newest, segments, stored)
    if plan is None:
        return None
    if not apply:
        return len(entries) - len(plan.chosen) + stored.segments_of(len(plan.rows)), newest.number
    new = write_segments(newest.store / SEGMENTS, stored, plan.rows, newest.fingerprint, plan.boxed)
    gone = frozenset(entries[number] for number in plan.chosen)
    state = commit(newest, Change("compact", tuple(new), replaces=gone, how={"segments": [len(gone), len(new)]}))
    return len(state.segments), state.number


def _plan(newest: Version, segments: list[Segment], stored: Stored) -> _Plan | None:
    """Choose segments that are small or of whose rows fewer than half count; None where nothing would be gained.

    Gained is what makes segments fewer, or frees at least half of the rows. Boxes alone can't be a segment.
    """
    live = np.bincount(stored.index.file, minlength=len(segments)).tolist()
    chosen = [
        number
        for number, (entry, rows) in enumerate(zip(newest.segments, live, strict=True))
        if entry.bytes < SEGMENT_BYTES // 2 or 2 * rows < entry.rows
    ]
    rows = np.flatnonzero(np.isin(stored.index.file, chosen))
    boxed = _boxed([segments[number] for number in chosen], stored.index)
    fewer = stored.segments_of(len(rows)) < len(chosen)
    smaller = 2 * len(rows) < sum(newest.segments[number].rows for number in chosen)
    if not (fewer or smaller) or (len(boxed) and not len(rows)):
        return None
    return _Plan(chosen, rows, boxed)


def _boxed(segments: Iterable[Segment], index: KeyIndex) -> NDArray[np.int32]:
    """Places of images that have boxes in segments."""
    names = {name for segment in segments for name in segment.images["image"][np.unique(segment.blobs[:, 0])].tolist()}
    places = (index.place(name.decode()) for name in names)
    return np.array(sorted(place for place in places if place is not None), dtype=np.int32)
