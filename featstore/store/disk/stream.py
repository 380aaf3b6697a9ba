"""Embeddings on their way into a file, piece by piece, before it is known how many there will be."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from featstore.errors import StoreWriteError
from featstore.store.disk.container import GROUP_SUMS, PAGE, SUMS
from featstore.store.disk.embeddings import GROUP_BLOCKS
from featstore.store.disk.files import Draft, draft, make_folder, plain_errors, write_at

__all__ = ["EmbeddingStream", "block_rows"]


class EmbeddingStream:
    """Embeddings on their way into a file: at most a piece waits in memory, the rest is summed and written.

    A piece is a group of blocks, about 256 KiB: it stays in the processor's cache between being copied, summed and
    written. A call that fails or is broken off may have taken a part of what it was given: nothing can be done with
    the stream from then on.

    Parameters
    ----------
    path : Path
        Beside this the file is written, under a temporary name.
    dim : int
    dtype : dtype
    user_block : int
        Size of the user block that the file will have.
    """

    def __init__(self, path: Path, dim: int, dtype: np.dtype[Any], user_block: int = PAGE) -> None:
        self.path = path
        self.shape = (0, dim)
        self.dtype = dtype
        self.block_rows = block_rows(dim, dtype)
        self.open = ExitStack()
        self._sums: list[int] = []
        self._group_sums: list[int] = []
        self._file: Draft | None = None
        self._user_block = user_block
        self._piece = np.empty((GROUP_BLOCKS * self.block_rows, dim), dtype=dtype)
        self._filled = self._written = 0
        self._broken: BaseException | None = None

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * self.dtype.itemsize

    @property
    def _start(self) -> int:
        """Where embeddings of more than a piece begin."""
        from featstore.store.disk.hdf5 import hole_offset  # reading needs no HDF5

        return hole_offset(self._user_block)

    @property
    def file(self) -> Draft:
        """The file; it is made, and its folder, when it is first needed."""
        if self._file is None:
            make_folder(self.path.parent)
            self._file = self.open.enter_context(draft(self.path))
        return self._file

    def write(self, embeddings: NDArray[np.floating[Any]]) -> None:
        """Take a copy of embeddings, (n, dim).

        Raises
        ------
        StoreWriteError
            If they, or some before them, can't be written.
        """
        self.require_whole()
        try:
            self.shape = (self.shape[0] + len(embeddings), self.shape[1])
            for start in range(0, len(embeddings), len(self._piece)):
                self._take(embeddings[start : start + len(self._piece)])
        except BaseException as error:
            self._broken = error
            raise

    def discard(self) -> None:
        """Forget all of it, and remove the file; nothing more can be written."""
        self._broken = self._broken or StoreWriteError(f"{self.path.parent}: what was being written was given up")
        self.open.close()

    def end(self) -> dict[str, NDArray[np.uint64]]:
        """Return the checksums of all blocks, and of all groups of them; nothing more can be written."""
        self.require_whole()
        self._broken = StoreWriteError(f"{self.path.parent}: a segment was written already, or broken off")
        if self._filled:
            self._sum(self._piece[: self._filled])
        return {SUMS: np.array(self._sums, dtype="<u8"), GROUP_SUMS: np.array(self._group_sums, dtype="<u8")}

    def put_rest(self, offset: int) -> None:
        """Write what still waits; the embeddings begin at ``offset``."""
        if self._written and offset != self._start:
            raise StoreWriteError(
                f"{self.path.parent}: HDF5 puts embeddings at {offset}, not at {self._start}",
                remedy="Install the release of h5py that featstore was tested with.",
            )
        self._put(self._piece[: self._filled], offset + self._written * self._row_bytes)

    def require_whole(self) -> None:
        """Refuse to go on after a write that failed or was broken off.

        Raises
        ------
        StoreWriteError
            The first one, if it was one.
        """
        if isinstance(self._broken, StoreWriteError):
            raise self._broken
        if self._broken:
            raise StoreWriteError(
                f"{self.path.parent}: a write was broken off, and this writer can't go on",
                remedy="What was committed stands. Run the same command again.",
            ) from self._broken

    def _take(self, part: NDArray[np.floating[Any]]) -> None:
        """Take at most a piece: fill up the one that waits; if that is not enough, write it, and let the rest wait."""
        room = len(self._piece) - self._filled
        first, rest = part[:room], part[room:]
        self._piece[self._filled : self._filled + len(first)] = first
        self._filled += len(first)
        if not len(rest):
            return
        self._sum(self._piece)
        self._put(self._piece, self._start + self._written * self._row_bytes)
        self._written += len(self._piece)
        self._piece[: len(rest)] = rest
        self._filled = len(rest)

    def _sum(self, piece: NDArray[np.floating[Any]]) -> None:
        content, length = _bytes(piece), self.block_rows * self._row_bytes
        self._group_sums.append(xxh3_64_intdigest(content))
        self._sums.extend(xxh3_64_intdigest(content[at : at + length]) for at in range(0, len(content), length))

    def _put(self, piece: NDArray[np.floating[Any]], offset: int) -> None:
        with plain_errors(self.path):
            write_at(self.file.descriptor, _bytes(piece), offset)


def _bytes(piece: NDArray[np.floating[Any]]) -> memoryview:
    return piece.reshape(-1).view(np.uint8).data


def block_rows(dim: int, dtype: np.dtype[Any]) -> int:
    """Tell how many rows share a checksum: about a page, which is what reading a row costs anyway."""
    return max(1, PAGE // (dim * dtype.itemsize))
