"""Reading embeddings from where they stand in a file, their checksums looked at on the way."""

from __future__ import annotations

import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from featstore.errors import StoreFormatError
from featstore.store.disk.opening import RESTORE, open_regular, unreadable

__all__ = ["Embeddings"]

BATCH_BYTES = 2**22
"""Rows are read in batches of about this size: the next is read while the checksums of this one are looked at."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The embeddings of a file: where they are, and the checksum of each block of ``block_rows`` rows."""

    path: Path
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    block_rows: int
    sums: NDArray[np.uint64]

    def read(self, rows: NDArray[np.intp], out: NDArray[np.floating[Any]], places: slice | NDArray[np.intp]) -> None:
        """Read rows into ``out[places]``, an array of rows of any floating type.

        A random row costs its own page. Rows in a row are read as one piece.

        Raises
        ------
        StoreFormatError
            If the file is gone, or a checksum does not match.
        """
        try:
            with open_regular(self.path) as (descriptor, size):
                if size < self.offset + self.shape[0] * self.row_bytes:
                    raise StoreFormatError(f"{self.path}: cut off at {size} bytes", remedy=RESTORE)
                whole = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
                mapped = np.frombuffer(whole, self.dtype, self.shape[0] * self.shape[1], self.offset)
                reading = _Reading(self, descriptor, mapped.reshape(self.shape), rows, out, places)
                reading.run(max(1, BATCH_BYTES // self.row_bytes))
        except StoreFormatError:
            raise
        except (OSError, ValueError) as error:
            raise unreadable(self.path, error, "embeddings") from error

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return self.shape[1] * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class _Reading:
    """One request for rows of one file."""

    source: Embeddings
    descriptor: int
    mapped: NDArray[np.floating[Any]]
    rows: NDArray[np.intp]
    out: NDArray[np.floating[Any]]
    places: slice | NDArray[np.intp]

    def run(self, batch: int) -> None:
        """Read batch after batch, on a thread, two ahead of the one whose checksums are looked at."""
        n = len(self.rows)
        parts = [slice(start, min(start + batch, n)) for start in range(0, n, batch)]
        if len(parts) == 1:
            self._take(parts[0], self._read(parts[0]))
            return
        with ThreadPoolExecutor(1) as thread:
            ahead: deque[Future[NDArray[np.floating[Any]]]] = deque()
            for number, part in enumerate(parts):
                while len(ahead) < 3 and number + len(ahead) < len(parts):
                    ahead.append(thread.submit(self._read, parts[number + len(ahead)]))
                self._take(part, ahead.popleft().result())

    def _read(self, part: slice) -> NDArray[np.floating[Any]]:
        """Read rows straight to their place where they can go there as they are, else into a buffer."""
        rows = self.rows[part]
        if isinstance(self.places, slice) and self.out.dtype == self.source.dtype:
            start = self.places.start
            buffer = self.out[start + part.start : start + part.stop]
        else:
            buffer = np.empty((len(rows), self.source.shape[1]), dtype=self.source.dtype)
        if len(rows) > 1 and int(rows[-1]) - int(rows[0]) == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
            self._read_through(int(rows[0]), buffer.data.cast("B"))
        else:
            np.take(self.mapped, rows, axis=0, out=buffer, mode="clip")
        return buffer

    def _read_through(self, first: int, into: memoryview) -> None:
        offset = self.source.offset + first * self.source.row_bytes
        while into:
            count = os.preadv(self.descriptor, [into], offset)
            if not count:
                raise StoreFormatError(f"{self.source.path}: cut off at {offset} bytes", remedy=RESTORE)
            into, offset = into[count:], offset + count

    def _take(self, part: slice, buffer: NDArray[np.floating[Any]]) -> None:
        self._check(self.rows[part], buffer)
        if isinstance(self.places, slice):
            start = self.places.start
            if self.out.dtype != self.source.dtype:
                self.out[start + part.start : start + part.stop] = buffer
        else:
            self.out[self.places[part]] = buffer

    def _check(self, rows: NDArray[np.intp], buffer: NDArray[np.floating[Any]]) -> None:
        """Compare checksums: of the rows as they arrived, or, where rows share one, of their blocks in the file."""
        size = self.source.block_rows
        if size == 1:
            blocks, content, length = rows, buffer.data.cast("B"), self.source.row_bytes
            found = [xxh3_64_intdigest(content[at : at + length]) for at in range(0, len(content), length)]
        else:
            blocks = np.unique(rows // size)
            found = [xxh3_64_intdigest(self.mapped[at : at + size].data) for at in (blocks * size).tolist()]
        if found != self.source.sums[blocks].tolist():
            wrong = blocks[np.array(found, dtype=np.uint64) != self.source.sums[blocks]]
            raise StoreFormatError(
                f"{self.source.path}: the checksum of embedding {int(wrong[0]) * size} does not match", remedy=RESTORE
            )
