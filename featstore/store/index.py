"""The index of a version: which row of which file holds each (image, blob, repeat)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.store.disk.columns import ImageTable
from featstore.store.disk.embeddings import Embeddings
from featstore.store.disk.segments import BLOB_COLUMNS, IDENTITY_COLUMNS, Segment

__all__ = ["KeyIndex", "blob_table", "read_rows"]

Column = NDArray[np.int32]

_JOB_BYTES = 2**25
"""Embeddings that one of two threads reads at a time."""


@dataclass(frozen=True, eq=False)
class KeyIndex:
    """Columns over all rows of a version, in key order: by image name, blob, repeat.

    A row counts while its image still has the content that the row was computed from. Where two writers computed the
    same key, the one committed first counts.

    Attributes
    ----------
    files : list of Embeddings
    encoded : list of bytes
        Images with rows, sorted, in UTF-8.
    image, blob, repeat : ndarray of shape (n,), int32
        ``image`` counts within ``names``.
    file, row : ndarray of shape (n,), int32
        Where the embedding stands.
    again : ndarray of shape (m, 3), int64
        Rows that don't count because their key was there before: position of the key, and where this one stands.
    """

    files: list[Embeddings]
    encoded: list[bytes]
    image: Column
    blob: Column
    repeat: Column
    file: Column
    row: Column
    again: NDArray[np.int64]

    @classmethod
    def build(cls, segments: Sequence[Segment], images: ImageTable, *, everything: bool = False) -> KeyIndex:
        """Sort the rows of segments, the earlier one first, by key.

        Parameters
        ----------
        segments : sequence of Segment
        images : ImageTable
        everything : bool
            Also rows of images that are left out: they are there, though they don't count.
        """
        names, places = _places(segments, images, everything=everything)
        counts = [len(segment.image) for segment in segments]
        image = np.empty(sum(counts), dtype=np.int32)
        row = np.empty_like(image)
        start = first = 0
        for segment, count in zip(segments, counts, strict=True):
            last, stop = first + len(segment.images["image"]), start + count
            np.take(places[first:last], segment.image, out=image[start:stop], mode="clip")
            row[start:stop] = np.arange(count, dtype=np.int32)
            start, first = stop, last
        blob = _joined([segment.blob for segment in segments])
        repeat = _joined([segment.repeat for segment in segments])
        file = np.repeat(np.arange(len(segments), dtype=np.int32), counts)
        columns = [image, blob, repeat, file, row]
        if len(image) and int(image.min()) < 0:
            live = image >= 0
            columns = [column[live] for column in columns]
        again = np.zeros((0, 3), dtype=np.int64)
        order = _key_order(*columns[:3])
        if order is not None:
            chosen, doubled, winners = order
            again = np.stack([winners, columns[3][doubled], columns[4][doubled]], axis=1).astype(np.int64)
            columns = [column[chosen] for column in columns]
        image, blob, repeat, file, row = columns
        return cls([segment.embeddings for segment in segments], names, image, blob, repeat, file, row, again)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def names(self) -> list[str]:
        """Images with rows, sorted."""
        return [name.decode() for name in self.encoded]

    def place(self, name: str) -> int | None:
        """Place of an image among the names, None where it has no rows."""
        wanted = name.encode(errors="surrogatepass")
        place = bisect_left(self.encoded, wanted)
        return place if place < len(self.encoded) and self.encoded[place] == wanted else None

    def keys_of(self, name: str) -> set[tuple[int, int]]:
        """Tell the (blob, repeat) pairs stored for an image."""
        place = self.place(name)
        if place is None:
            return set()
        first, last = np.searchsorted(self.image, np.array([place, place + 1], dtype=np.int32))
        return set(zip(self.blob[first:last].tolist(), self.repeat[first:last].tolist(), strict=True))

    def gather(self, rows: NDArray[np.intp], dim: int, dtype: Any = np.float32) -> NDArray[np.floating[Any]]:
        """Read the embeddings of the given rows, (n, dim).

        Raises
        ------
        StoreFormatError
            If a file is gone, or a checksum does not match.
        """
        return read_rows(self.files, self.file[rows], self.row[rows], dim, dtype)


def read_rows(
    files: Sequence[Embeddings], file: NDArray[np.integer[Any]], row: NDArray[np.integer[Any]], dim: int, dtype: Any
) -> NDArray[np.floating[Any]]:
    """Read rows that stand anywhere in several files, (n, dim), file by file."""
    out = np.empty((len(row), dim), dtype=dtype)
    order = None
    if not bool((file[1:] >= file[:-1]).all()):
        # numbers of two bytes are sorted ten times as fast
        order = np.argsort(file.astype(np.uint16) if len(files) < 2**16 else file, kind="stable")
        file, row = file[order], row[order]
    edges = [0, *(np.flatnonzero(np.diff(file)) + 1).tolist(), len(file)] if len(file) else []
    step = max(1, _JOB_BYTES // (dim * out.itemsize))
    jobs = [(start, min(start + step, stop)) for first, stop in pairwise(edges) for start in range(first, stop, step)]

    def read(job: tuple[int, int]) -> None:
        start, stop = job
        places = slice(start, stop) if order is None else order[start:stop]
        files[int(file[start])].read(row[start:stop].astype(np.intp), out, places)

    if len(row) * dim * out.itemsize < _JOB_BYTES:
        for job in jobs:
            read(job)
    else:
        with ThreadPoolExecutor(2) as threads:
            going = [threads.submit(read, job) for job in jobs]
            try:
                for done in going:
                    done.result()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
    return out


def blob_table(
    segments: Sequence[Segment], images: ImageTable, *, everything: bool = False
) -> tuple[list[str], NDArray[np.int32]]:
    """Collect the boxes of blobs, in the order of their keys: names, and `BLOB_COLUMNS` with places among the names.

    Where a box is given twice, the first counts.
    """
    names, places = _places(segments, images, everything=everything)
    tables = [np.zeros((0, len(BLOB_COLUMNS)), dtype=np.int32)]
    first = 0
    for segment in segments:
        table = segment.blobs.copy()
        table[:, 0] = places[first + table[:, 0]]
        tables.append(table)
        first += len(segment.images["image"])
    table = np.concatenate(tables)
    table = table[table[:, 0] >= 0]
    order = _key_order(table[:, 0], table[:, 1], np.zeros(len(table), dtype=np.int32))
    return [name.decode() for name in names], table if order is None else table[order[0]]


def _places(segments: Sequence[Segment], images: ImageTable, *, everything: bool) -> tuple[list[bytes], Column]:
    """Sort the names of images that have rows and count, and place each segment's images, in turn, among them.

    A place is -1 where the image has no rows anywhere, has other content now, or is left out.
    """
    there = {name: _texts([segment.images[name] for segment in segments]) for name in IDENTITY_COLUMNS}
    missing = len(images)
    row = np.array([images.places.get(name, missing) for name in there["image"].tolist()], dtype=np.int32)
    live = row < missing
    if not everything:
        live &= ~np.append(images.left_out, True)[row]
    for name in ("sha256", "mask_sha256"):
        live[live] = images.plain[name][row[live]] == there[name][live]
    pointed = np.concatenate([np.zeros(0, dtype=np.bool_), *map(_with_rows, segments)])
    used = np.zeros(missing, dtype=np.bool_)
    used[row[live & pointed]] = True
    names = images.plain["image"][used].tolist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.full(missing + 1, -1, dtype=np.int32)
    rank[np.flatnonzero(used)[order]] = np.arange(len(names), dtype=np.int32)
    return [names[place] for place in order], np.where(live, rank[row], -1).astype(np.int32)


def _with_rows(segment: Segment) -> NDArray[np.bool_]:
    """Tell which images of a segment have rows in it."""
    pointed = np.zeros(len(segment.images["image"]), dtype=np.bool_)
    pointed[segment.image] = True
    return pointed


def _texts(columns: Sequence[NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    return np.concatenate([np.zeros(0, dtype="S1"), *columns])


def _key_order(
    image: Column, blob: Column, repeat: Column
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]] | None:
    """Order rows by key; None where they are in order already, each key once.

    Returns
    -------
    chosen : ndarray
        Rows in key order, the first of each key.
    doubled : ndarray
        The others.
    winners : ndarray
        For each of them, the position of its key among the chosen.
    """
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
    return order[first], order[~first], np.cumsum(first)[~first] - 1


def _by_runs(image: Column, key: NDArray[np.int64]) -> NDArray[np.intp]:
    """Order rows by key, equal ones as they come: by runs of one image, which mostly are in order, else row by row."""
    starts = np.append(0, np.flatnonzero(np.diff(image)) + 1)
    counts = np.diff(np.append(starts, len(image)))
    runs = np.argsort(image[starts], kind="stable")
    counts = counts[runs]
    order: NDArray[np.intp] = np.arange(len(image)) + np.repeat(starts[runs] - (np.cumsum(counts) - counts), counts)
    if bool((np.diff(key[order]) >= 0).all()):
        return order
    return np.argsort(key, kind="stable")


def _joined(columns: Sequence[Column]) -> Column:
    return np.concatenate([np.zeros(0, dtype=np.int32), *columns])
