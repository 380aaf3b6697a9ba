"""Putting rows of several segments in the order of their keys, and leaving out those that do not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featstore.store.disk.columns import ImageTable
from featstore.store.disk.segments import IDENTITY_COLUMNS, Segment
from featstore.store.runs import rows_of_runs, run_starts

__all__ = ["Column", "KeyOrder", "joined", "key_order", "place_images"]

Column = NDArray[np.int32]


class KeyOrder(NamedTuple):
    """The order of rows by key.

    Attributes
    ----------
    chosen : ndarray
        Rows in key order, the first of each key.
    doubled : ndarray
        The others.
    winners : ndarray
        For each of them, the position of its key among the chosen.
    """

    chosen: NDArray[np.intp]
    doubled: NDArray[np.intp]
    winners: NDArray[np.intp]


def place_images(
    segments: Sequence[Segment], images: ImageTable, *, everything: bool = False
) -> tuple[list[bytes], Column]:
    """Sort the names of images that have rows and count, and place each segment's images, in turn, among them.

    A place is -1 where the image has no rows anywhere, has other content now, or is left out (unless ``everything``).
    """
    row = _rows_in_table(segments, images, everything=everything)
    used = np.zeros(len(images) + 1, dtype=np.bool_)  # the last is for those that do not count
    used[row[joined([_with_rows(segment) for segment in segments], np.bool_)]] = True
    kept = np.flatnonzero(used[:-1])
    names = images.plain["image"][kept].tolist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.full(len(images) + 1, -1, dtype=np.int32)
    place[kept[order]] = np.arange(len(names), dtype=np.int32)
    return [names[number] for number in order], place[row]


def _rows_in_table(segments: Sequence[Segment], images: ImageTable, *, everything: bool) -> NDArray[np.intp]:
    """Find the row of each segment's images, in turn, in the image table; -1 where the image does not count."""
    there = {name: joined([segment.images[name] for segment in segments], "S1") for name in IDENTITY_COLUMNS}
    row = np.array([images.places.get(name, -1) for name in there["image"].tolist()], dtype=np.intp)
    live = row >= 0
    if not everything:
        live[live] = ~images.left_out[row[live]]
    for name in ("sha256", "mask_sha256"):
        live[live] = images.plain[name][row[live]] == there[name][live]
    row[~live] = -1
    return row


def _with_rows(segment: Segment) -> NDArray[np.bool_]:
    """Tell which images of a segment have rows in it."""
    pointed = np.zeros(len(segment.images["image"]), dtype=np.bool_)
    pointed[segment.image] = True
    return pointed


def key_order(image: Column, blob: Column, repeat: Column) -> KeyOrder | None:
    """Order rows by key; None where they are in order already, each key once."""
    if len(image) < 2:
        return None
    key = image.astype(np.int64)
    key *= int(blob.max()) + 1
    key += blob
    spread = int(repeat.max()) + 1
    if int(key.max()) >= 2**63 // spread - 1:
        key = np.unique(key, return_inverse=True)[1].astype(np.int64)
    key *= spread
    key += repeat
    if bool((key[1:] > key[:-1]).all()):
        return None
    order = _by_runs(image, key)
    key = key[order]
    first = np.append(True, key[1:] != key[:-1])
    return KeyOrder(order[first], order[~first], np.cumsum(first)[~first] - 1)


def _by_runs(image: Column, key: NDArray[np.int64]) -> NDArray[np.intp]:
    """Order rows by key, equal ones as they come: by runs of one image, which mostly are in order, else row by row."""
    starts = run_starts(image)
    runs = np.argsort(image[starts], kind="stable")
    order = rows_of_runs(starts[runs], np.diff(starts, append=len(image))[runs])
    if bool((np.diff(key[order]) >= 0).all()):
        return order
    return np.argsort(key, kind="stable")


def joined(columns: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    """Put columns one after the other; of no columns, an empty one of this type."""
    return np.concatenate([np.zeros(0, dtype=kind), *columns])
