"""Reading embeddings from where they stand in a file, their checksums looked at on the way."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from featstore.errors import StoreFormatError
from featstore.store.disk.opening import RESTORE, open_regular, read_into, unreadable

__all__ = ["GROUP_BLOCKS", "Embeddings"]

GROUP_BLOCKS = 64
"""Blocks that share a checksum besides their own: whoever reads them all looks at one instead of 64."""

BATCH_BYTES = 2**21
"""Rows are read in batches of about this size: they stay in the processor's cache until their checksum was taken."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The embeddings of a file: where they are, and their checksums.

    There is one for each block of ``block_rows`` rows, and one for each group of `GROUP_BLOCKS` blocks.
    """

    path: Path
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    block_rows: int
    sums: NDArray[np.uint64]
    group_sums: NDArray[np.uint64]

    def read(
        self,
        rows: NDArray[np.intp],
        out: NDArray[np.floating[Any]],
        places: slice | NDArray[np.intp],
        *,
        every_sum: bool = False,
    ) -> None:
        """Read rows into ``out[places]``, an array of rows of any floating type.

        A random row costs its own page. Rows in a row are read as one piece; of whole groups one checksum is looked at,
        and those of their blocks too if ``every_sum``.

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
                _Reading(self, descriptor, mapped.reshape(self.shape), every_sum).run(rows, out, places)
        except StoreFormatError:
            raise
        except (OSError, ValueError) as error:
            raise unreadable(self.path, error, "embeddings") from error

    @property
    def group_rows(self) -> int:
        """Number of rows in a group of blocks."""
        return GROUP_BLOCKS * self.block_rows

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return self.shape[1] * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class _Reading:
    """A file that is open and mapped."""

    source: Embeddings
    descriptor: int
    mapped: NDArray[np.floating[Any]]
    every_sum: bool

    def run(self, rows: NDArray[np.intp], out: NDArray[np.floating[Any]], places: slice | NDArray[np.intp]) -> None:
        """Read batch after batch: straight to its place where it can go there as it is, else by way of a buffer."""
        source, n = self.source, len(rows)
        batch = max(1, BATCH_BYTES // source.row_bytes)
        batch = max(batch - batch % source.group_rows, min(batch, source.group_rows))
        straight = out[places] if isinstance(places, slice) and out.dtype == source.dtype else None
        buffer = np.empty((min(n, batch) if straight is None else 0, source.shape[1]), dtype=source.dtype)
        for start in range(0, n, batch):
            part = slice(start, min(start + batch, n))
            into = buffer[: part.stop - start] if straight is None else straight[part]
            self._fill(rows[part], into)
            if straight is None:
                out[_part(places, part)] = into

    def _fill(self, rows: NDArray[np.intp], into: NDArray[np.floating[Any]]) -> None:
        """Read rows and look at their checksums; of those that stand together, group by group."""
        first, last = int(rows[0]), int(rows[-1])
        if last - first != len(rows) - 1 or not bool((np.diff(rows) == 1).all()):
            np.take(self.mapped, rows, axis=0, out=into, mode="clip")
            self._check(rows, into)
            return
        self._read_through(first, into.data.cast("B"))
        size = self.source.group_rows
        start = -(-first // size) * size
        stop = last + 1 if last + 1 == self.source.shape[0] else (last + 1) // size * size
        if start >= stop:
            start = stop = last + 1
        self._check(rows[: start - first], into[: start - first])
        self._check_groups(start, into[start - first : stop - first])
        if self.every_sum:
            self._check(rows[start - first : stop - first], into[start - first : stop - first])
        self._check(rows[stop - first :], into[stop - first :])

    def _read_through(self, first: int, into: memoryview) -> None:
        offset = self.source.offset + first * self.source.row_bytes
        done = read_into(self.descriptor, into, offset)
        if done < len(into):
            raise StoreFormatError(f"{self.source.path}: cut off at {offset + done} bytes", remedy=RESTORE)

    def _check(self, rows: NDArray[np.intp], found: NDArray[np.floating[Any]]) -> None:
        """Compare checksums: of the rows as they arrived, or, where rows share one, of their blocks in the file."""
        if not len(rows):
            return
        size, source = self.source.block_rows, self.source
        if size == 1:
            blocks, content, length = rows, found.data.cast("B"), source.row_bytes
            sums = [xxh3_64_intdigest(content[at : at + length]) for at in range(0, len(content), length)]
        else:
            blocks = np.unique(rows // size)
            sums = [xxh3_64_intdigest(self.mapped[at : at + size].data) for at in (blocks * size).tolist()]
        self._compare(sums, source.sums[blocks], blocks * size)

    def _check_groups(self, first: int, found: NDArray[np.floating[Any]]) -> None:
        """Compare the checksums of whole groups, as they arrived."""
        size = self.source.group_rows
        starts = range(0, len(found), size)
        sums = [xxh3_64_intdigest(found[at : at + size].data) for at in starts]
        stated = self.source.group_sums[first // size : first // size + len(sums)].tolist()
        if sums != stated:
            self._check(np.arange(first, first + len(found)), found)  # tells which block it is
            self._compare(sums, np.array(stated, dtype=np.uint64), first + np.array(starts))

    def _compare(self, sums: list[int], stated: NDArray[np.uint64], rows: NDArray[np.intp]) -> None:
        if sums != stated.tolist():
            wrong = rows[np.array(sums, dtype=np.uint64) != stated]
            raise StoreFormatError(
                f"{self.source.path}: the checksum of embedding {int(wrong[0])} does not match", remedy=RESTORE
            )


def _part(places: slice | NDArray[np.intp], part: slice) -> slice | NDArray[np.intp]:
    """Take a part of places."""
    if isinstance(places, slice):
        return slice(places.start + part.start, places.start + part.stop)
    return places[part]
