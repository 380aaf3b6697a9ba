"""Writing rows that are stored already once more: into fewer segments, another store, or one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.store.disk.columns import ImageTable
from featstore.store.disk.files import make_folder
from featstore.store.disk.segments import SEGMENT_BYTES, Segment, SegmentEntry, SegmentRows, write_segment
from featstore.store.disk.stream import block_rows
from featstore.store.disk.writing import EmbeddingRows
from featstore.store.index import KeyIndex, blob_table

__all__ = ["Stored", "write_segments"]

_CHUNK_BYTES = 2**24
_NONE = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Stored:
    """All rows of some segments that belong to images as they are now, those that are left out among them."""

    index: KeyIndex
    images: ImageTable
    blobs: NDArray[np.int32]
    dim: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, segments: Sequence[Segment], images: ImageTable, dim: int, dtype: str) -> Stored:
        """Index segments, the earlier first."""
        index = KeyIndex.build(segments, images, everything=True)
        return cls(index, images, blob_table(segments, images, everything=True)[1], dim, np.dtype(dtype))

    @property
    def row_bytes(self) -> int:
        """Size of an embedding."""
        return self.dim * self.dtype.itemsize

    @property
    def segment_rows(self) -> int:
        """How many rows go into a segment of the usual size."""
        return max(1, SEGMENT_BYTES // self.row_bytes)

    def segments_of(self, count: int) -> int:
        """Tell how many segments so many rows make."""
        return -(-count // self.segment_rows)

    def embeddings(self, rows: NDArray[np.intp]) -> EmbeddingRows:
        """Embeddings of rows, read a chunk at a time while they are written."""
        return EmbeddingRows(self.dim, self.dtype, self._chunks(rows))

    def segment(self, rows: NDArray[np.intp], boxed: NDArray[np.int32] = _NONE) -> SegmentRows:
        """Make a segment of rows, with the boxes of their images and of those at the places ``boxed``."""
        index = self.index
        used = np.union1d(index.image[rows], boxed)
        blobs = self.blobs[np.isin(self.blobs[:, 0], used)]
        blobs[:, 0] = np.searchsorted(used, blobs[:, 0])
        known = [self.images[index.names[number]] for number in used.tolist()]
        return SegmentRows(
            self.embeddings(rows),
            np.searchsorted(used, index.image[rows]).astype(np.int32),
            index.blob[rows],
            index.repeat[rows],
            [(row.image, *row.identity) for row in known],
            blobs,
        )

    def _chunks(self, rows: NDArray[np.intp]) -> Iterator[NDArray[np.floating[Any]]]:
        block = block_rows(self.dim, self.dtype)
        step = max(1, _CHUNK_BYTES // (self.row_bytes * block)) * block
        for start in range(0, len(rows), step):
            yield self.index.gather(rows[start : start + step], self.dim, self.dtype)


def write_segments(
    folder: Path, stored: Stored, rows: NDArray[np.intp], fingerprint: str, boxed: NDArray[np.int32] = _NONE
) -> list[SegmentEntry]:
    """Write rows as segments of the usual size; boxes of images at the places ``boxed`` go into the first.

    Raises
    ------
    StoreFormatError, StoreWriteError
        If a row can't be read or a segment not be written.
    """
    make_folder(folder)
    step = stored.segment_rows
    starts = range(0, len(rows), step)
    parts = (stored.segment(rows[start : start + step], _NONE if start else boxed) for start in starts)
    return [write_segment(folder, part, fingerprint) for part in parts]
