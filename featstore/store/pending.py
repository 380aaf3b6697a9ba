"""Rows on their way into the next segment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError
from featstore.store.disk.segments import BLOB_COLUMNS, SegmentEntry, SegmentRows, write_segment
from featstore.store.disk.writing import EmbeddingStream

__all__ = ["Pending", "Rows"]


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


class Pending:
    """Rows of the next segment: their embeddings are on the way to the disk, their keys wait.

    Parameters
    ----------
    folder : Path
        Where segments are.
    dim : int
    dtype : str
    segment_bytes : int
        Usual size of a segment's embeddings.
    """

    def __init__(self, folder: Path, dim: int, dtype: str, segment_bytes: int) -> None:
        self._stream = EmbeddingStream(folder / "segment", dim, np.dtype(dtype))
        self._room = max(1, segment_bytes // (dim * self._stream.dtype.itemsize))
        self._parts: list[tuple[tuple[str, str, str], Rows]] = []

    def __len__(self) -> int:
        return self._stream.shape[0]

    def has_room(self, count: int) -> bool:
        """Tell whether so many rows more still make a segment of the usual size."""
        return len(self) + count <= self._room

    def check(self, image: str, count: int, embeddings: ArrayLike) -> NDArray[np.floating[Any]]:
        """Take embeddings for what is stored of them, or refuse them with a `DataError`."""
        vectors, dim, dtype = np.asarray(embeddings), self._stream.shape[1], self._stream.dtype
        if vectors.ndim != 2 or vectors.shape != (count, dim):
            raise DataError(
                f"image {image!r}: embeddings of shape {vectors.shape}, {count} blobs",
                expected=f"embeddings of shape (n, {dim}), n blobs and n repeats",
            )
        with np.errstate(over="ignore"):
            stored = vectors.astype(dtype, copy=False)
        if not np.isfinite(stored).all():
            raise DataError(
                f"image {image!r}: an embedding is not finite", expected=f"finite numbers that {dtype} can hold"
            )
        return stored

    def add(self, image: tuple[str, str, str], rows: Rows, embeddings: NDArray[np.floating[Any]]) -> None:
        """Take a copy of embeddings; ``image`` is its name and the digests of its content.

        Raises
        ------
        StoreWriteError
            If they can't be written.
        """
        order = np.lexsort((rows.repeats, rows.blobs))
        if bool((np.diff(order) == 1).all()):
            self._stream.write(embeddings)
        else:
            rows = Rows(rows.blobs[order], rows.repeats[order], rows.keys, rows.boxes)
            self._stream.write(embeddings[order])
        self._parts.append((image, rows))

    def discard(self) -> None:
        """Forget all rows."""
        self._stream.open.close()

    def write_segment(self, folder: Path, fingerprint: str) -> SegmentEntry:
        """Write all rows as one segment, and wait for the disk; nothing more can be added.

        Raises
        ------
        StoreWriteError
            If it can't be written.
        """
        return write_segment(folder, self._rows(), fingerprint)

    def _rows(self) -> SegmentRows:
        images = sorted({image for image, _ in self._parts})
        number = {image: place for place, image in enumerate(images)}
        where = np.array([number[image] for image, _ in self._parts], dtype=np.int32)
        boxes = np.concatenate([rows.boxes for _, rows in self._parts])
        return SegmentRows(
            self._stream,
            np.repeat(where, [len(rows.blobs) for _, rows in self._parts]),
            np.concatenate([rows.blobs for _, rows in self._parts]),
            np.concatenate([rows.repeats for _, rows in self._parts]),
            images,
            np.column_stack([np.repeat(where, [len(rows.boxes) for _, rows in self._parts]), boxes]),
        )
