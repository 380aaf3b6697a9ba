"""The index of a version: which row of which file holds each (image, blob, repeat)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.store.disk.columns import ImageTable
from featstore.store.disk.embeddings import Embeddings
from featstore.store.disk.segments import BLOB_COLUMNS, Segment
from featstore.store.ordering import Column, joined, key_order, place_images
from featstore.store.runs import run_starts

__all__ = ["KeyIndex", "blob_table", "read_rows"]

_JOB_BYTES = 2**26
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
        names, places = place_images(segments, images, everything=everything)
        image, row = _images_and_rows(segments, places)
        blob = joined([segment.blob for segment in segments], np.int32)
        repeat = joined([segment.repeat for segment in segments], np.int32)
        file = np.repeat(np.arange(len(segments), dtype=np.int32), [len(segment.image) for segment in segments])
        columns = [image, blob, repeat, file, row]
        if len(image) and int(image.min()) < 0:
            live = image >= 0
            columns = [column[live] for column in columns]
        again = np.zeros((0, 3), dtype=np.int64)
        order = key_order(*columns[:3])
        if order is not None:
            again = np.stack([order.winners, *(column[order.doubled] for column in columns[3:])], axis=1)
            columns = [column[order.chosen] for column in columns]
        image, blob, repeat, file, row = columns
        return cls([segment.embeddings for segment in segments], names, image, blob, repeat, file, row, again)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def names(self) -> list[str]:
        """Images with rows, sorted."""
        return [name.decode() for name in self.encoded]

    def places_in(self, images: ImageTable) -> NDArray[np.intp]:
        """Place of each image that has rows in the image table."""
        return np.array([images.places[name] for name in self.encoded], dtype=np.intp)

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
    edges = [*run_starts(file).tolist(), len(file)]
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
        _on_two_threads(read, jobs)
    return out


def _on_two_threads(read: Callable[[tuple[int, int]], None], jobs: Iterable[tuple[int, int]]) -> None:
    """Do jobs; once one fails, no other is begun."""
    with ThreadPoolExecutor(2) as threads:
        going = [threads.submit(read, job) for job in jobs]
        try:
            for done in going:
                done.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def blob_table(
    segments: Sequence[Segment], images: ImageTable, *, everything: bool = False
) -> tuple[list[str], NDArray[np.int32]]:
    """Collect the boxes of blobs, in the order of their keys: names, and `BLOB_COLUMNS` with places among the names.

    Where a box is given twice, the first counts.
    """
    names, places = place_images(segments, images, everything=everything)
    tables, first = [np.zeros((0, len(BLOB_COLUMNS)), dtype=np.int32)], 0
    for segment in segments:
        table = segment.blobs.copy()
        table[:, 0] = places[first + table[:, 0]]
        tables.append(table)
        first += len(segment.images["image"])
    table = np.concatenate(tables)
    table = table[table[:, 0] >= 0]
    order = key_order(table[:, 0], table[:, 1], np.zeros(len(table), dtype=np.int32))
    return [name.decode() for name in names], table if order is None else table[order.chosen]


def _images_and_rows(segments: Sequence[Segment], places: Column) -> tuple[Column, Column]:
    """For each row of segments, in turn, the place of its image and its number within the segment."""
    image = np.empty(sum(len(segment.image) for segment in segments), dtype=np.int32)
    row = np.empty_like(image)
    start = first = 0
    for segment in segments:
        last, stop = first + len(segment.images["image"]), start + len(segment.image)
        np.take(places[first:last], segment.image, out=image[start:stop], mode="clip")
        row[start:stop] = np.arange(stop - start, dtype=np.int32)
        start, first = stop, last
    return image, row
