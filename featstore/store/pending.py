"""Rows on their way into the next segment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.store.disk.segments import SegmentEntry, SegmentRows, write_segment
from featstore.store.disk.stream import EmbeddingStream
from featstore.store.rows import Rows

__all__ = ["Pending"]


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
        self._stream = EmbeddingStream(folder / "a new segment", dim, np.dtype(dtype))
        self._room = max(1, segment_bytes // (dim * self._stream.dtype.itemsize))
        self._parts: list[tuple[tuple[str, str, str], Rows]] = []

    def __len__(self) -> int:
        return self._stream.shape[0]

    def has_room(self, count: int) -> bool:
        """Tell whether so many rows more still make a segment of the usual size."""
        return len(self) + count <= self._room

    def add(self, image: tuple[str, str, str], rows: Rows, embeddings: NDArray[np.floating[Any]]) -> None:
        """Take a copy of embeddings, in the order in which they were given; ``image`` is its name and digests.

        Raises
        ------
        StoreWriteError
            If they can't be written.
        """
        self._stream.write(embeddings if rows.order is None else embeddings[rows.order])
        self._parts.append((image, rows))

    def discard(self) -> None:
        """Forget all rows; nothing more can be added."""
        self._stream.discard()

    def write_segment(self, folder: Path, fingerprint: str) -> SegmentEntry:
        """Write all rows as one segment, and wait for the disk; nothing more can be added.

        Raises
        ------
        StoreWriteError
            If it can't be written.
        """
        self._stream.require_whole()
        return write_segment(folder, self._rows(), fingerprint)

    def _rows(self) -> SegmentRows:
        images = sorted({image for image, _ in self._parts})
        number = {image: place for place, image in enumerate(images)}
        where = np.array([number[image] for image, _ in self._parts], dtype=np.int32)
        boxes = np.concatenate([rows.boxes for _, rows in self._parts])
        return SegmentRows(
            self._stream,
            np.repeat(where, [len(rows) for _, rows in self._parts]),
            np.concatenate([rows.blobs for _, rows in self._parts]),
            np.concatenate([rows.repeats for _, rows in self._parts]),
            images,
            np.column_stack([np.repeat(where, [len(rows.boxes) for _, rows in self._parts]), boxes]),
        )
