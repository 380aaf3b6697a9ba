"""Rows on their way into the next segment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError
from featstore.store.disk.segments import BLOB_COLUMNS, SegmentRows
from featstore.store.disk.writing import EmbeddingRows, block_rows

__all__ = ["Pending", "Rows"]

_CHUNK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Rows:
    """Keys of embeddings of one image, checked.

    Attributes
    ----------
    blobs, repeats : ndarray of shape (n,), int32
    keys : set of (int, int)
        The same as pairs.
    boxes : ndarray of shape (n_blobs, 6), int32
    """

    blobs: NDArray[np.int32]
    repeats: NDArray[np.int32]
    keys: set[tuple[int, int]]
    boxes: NDArray[np.int32]

    @classmethod
    def checked(cls, image: str, blobs: ArrayLike, repeats: ArrayLike, boxes: ArrayLike) -> Rows:
        """Take what a user gave, or refuse it with a `DataError`."""
        if not image or not isinstance(image, str):
            raise DataError(f"image is {image!r}", expected="a name")
        b, r = _counts(blobs, "blobs", image), _counts(repeats, "repeats", image)
        if len(b) != len(r):
            raise DataError(f"image {image!r}: {len(b)} blobs, {len(r)} repeats", expected="as many of both")
        keys = set(zip(b.tolist(), r.tolist(), strict=True))
        if len(keys) != len(b):
            raise DataError(f"image {image!r}: a (blob, repeat) pair is given twice", expected="each key once")
        table = np.asarray(boxes, dtype=np.int32).reshape(-1, len(BLOB_COLUMNS) - 1)
        return cls(b, r, keys, table)


def _counts(values: ArrayLike, name: str, image: str) -> NDArray[np.int32]:
    array = np.asarray(values)
    whole = array.ndim == 1 and (array.dtype.kind in "iu" or array.size == 0)
    if not whole or (array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**31):
        raise DataError(
            f"image {image!r}: {name} of shape {array.shape}, {array.dtype}",
            expected="a list of whole numbers, 0 or more",
        )
    return array.astype(np.int32)


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of one image, and where their embeddings wait."""

    image: tuple[str, str, str]
    rows: Rows
    start: int


class Pending:
    """Embeddings that wait to be written, in one array that is used again and again."""

    def __init__(self, dim: int, dtype: str, segment_bytes: int) -> None:
        self._room = max(1, segment_bytes // (dim * np.dtype(dtype).itemsize))
        self._array = np.empty((0, dim), dtype=dtype)
        self._used = 0
        self._parts: list[_Part] = []

    def __len__(self) -> int:
        return sum(len(part.rows.blobs) for part in self._parts)

    def has_room(self, count: int) -> bool:
        """Tell whether so many rows more still make a segment of the usual size."""
        return self._used + count <= self._room

    def check(self, image: str, count: int, embeddings: ArrayLike) -> NDArray[np.floating[Any]]:
        """Take embeddings for what is stored of them, or refuse them with a `DataError`."""
        vectors = np.asarray(embeddings)
        if vectors.ndim != 2 or vectors.shape != (count, self._array.shape[1]):
            raise DataError(
                f"image {image!r}: embeddings of shape {vectors.shape}, {count} blobs",
                expected=f"embeddings of shape (n, {self._array.shape[1]}), n blobs and n repeats",
            )
        with np.errstate(over="ignore"):
            stored = vectors.astype(self._array.dtype, copy=False)
        if not np.isfinite(stored).all():
            raise DataError(
                f"image {image!r}: an embedding is not finite",
                expected=f"finite numbers that {self._array.dtype} can hold",
            )
        return stored

    def add(self, image: tuple[str, str, str], rows: Rows, embeddings: NDArray[np.floating[Any]]) -> None:
        """Take a copy of embeddings; ``image`` is its name and the digests of its content."""
        stop = self._used + len(embeddings)
        if stop > len(self._array):
            larger = np.empty((max(stop, self._room), self._array.shape[1]), dtype=self._array.dtype)
            larger[: self._used] = self._array[: self._used]
            self._array = larger
        self._array[self._used : stop] = embeddings
        self._parts.append(_Part(image, rows, self._used))
        self._used = stop

    def drop(self, image: str) -> None:
        """Forget the rows of an image."""
        self._parts = [part for part in self._parts if part.image[0] != image]

    def clear(self) -> None:
        """Forget all rows."""
        self._parts, self._used = [], 0

    def rows(self) -> SegmentRows:
        """Put all rows into one segment, in key order; to be written before anything else is added."""
        parts = sorted(self._parts, key=lambda part: part.image)
        images = sorted({part.image for part in parts})
        number = {image: place for place, image in enumerate(images)}
        where = [number[part.image] for part in parts]
        counts = [len(part.rows.blobs) for part in parts]
        image = np.repeat(np.array(where, dtype=np.int32), counts)
        blob = np.concatenate([part.rows.blobs for part in parts])
        repeat = np.concatenate([part.rows.repeats for part in parts])
        row = np.concatenate([np.arange(part.start, part.start + n) for part, n in zip(parts, counts, strict=True)])
        order = np.lexsort((repeat, blob, image))
        boxed = np.repeat(np.array(where, dtype=np.int32), [len(part.rows.boxes) for part in parts])
        boxes = np.concatenate([part.rows.boxes for part in parts])
        return SegmentRows(
            EmbeddingRows((len(row), self._array.shape[1]), self._array.dtype, self._chunks(row[order])),
            image[order],
            blob[order],
            repeat[order],
            images,
            np.column_stack([boxed, boxes]),
        )

    def _chunks(self, row: NDArray[np.intp]) -> Iterator[NDArray[np.floating[Any]]]:
        """Hand the embeddings out in the order of ``row``; as they stand, when that is their order."""
        if bool((np.diff(row) == 1).all()):
            yield self._array[row[0] : row[-1] + 1]
            return
        step = block_rows(self._array.shape[1], self._array.dtype) * _CHUNK_ROWS
        for start in range(0, len(row), step):
            yield self._array[row[start : start + step]]
