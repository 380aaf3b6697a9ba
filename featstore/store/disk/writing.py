"""Writing containers: the file whole under a temporary name, then the wait for the disk, then its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64, xxh3_64_intdigest

from featstore.errors import StoreWriteError
from featstore.recipe import canonical_json
from featstore.store.disk.container import EMBEDDINGS, FORMAT, PAGE, SUMS, FileEntry
from featstore.store.disk.files import Draft, draft, make_folder, plain_errors, write_at

if TYPE_CHECKING:
    from featstore.store.disk.hdf5 import Hole, Layout

__all__ = ["EmbeddingRows", "EmbeddingStream", "block_rows", "write_container"]

_PIECE_BYTES = 2**18
"""What is written at a time: it stays in the processor's cache between being copied, summed and written."""


@dataclass(frozen=True)
class EmbeddingRows:
    """Embeddings that are read, or made, a chunk at a time while they are written."""

    dim: int
    dtype: np.dtype[Any]
    chunks: Iterable[NDArray[np.floating[Any]]]


class EmbeddingStream:
    """Embeddings on their way into a file: at most a piece waits in memory, the rest is summed and written.

    A call that fails or is broken off may have taken a part of what it was given: nothing can be done with the stream
    from then on.

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
        self._file: Draft | None = None
        self._user_block = user_block
        blocks = max(1, _PIECE_BYTES // (self.block_rows * self._row_bytes))
        self._piece = np.empty((blocks * self.block_rows, dim), dtype=dtype)
        self._filled = self._written = 0
        self._whole = True

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
        self._require_whole()
        self._whole = False
        self.shape = (self.shape[0] + len(embeddings), self.shape[1])
        for start in range(0, len(embeddings), len(self._piece)):
            self._take(embeddings[start : start + len(self._piece)])
        self._whole = True

    def end(self) -> NDArray[np.uint64]:
        """Return the checksums of all blocks; nothing more can be written."""
        self._require_whole()
        self._whole = False
        self._sum(self._piece[: self._filled])
        return np.array(self._sums, dtype="<u8")

    def put_rest(self, offset: int) -> None:
        """Write what still waits; the embeddings begin at ``offset``."""
        if self._written and offset != self._start:
            raise StoreWriteError(
                f"{self.path.parent}: HDF5 puts embeddings at {offset}, not at {self._start}",
                remedy="Install the release of h5py that featstore was tested with.",
            )
        self._put(self._piece[: self._filled], offset + self._written * self._row_bytes)

    def _require_whole(self) -> None:
        if not self._whole:
            raise StoreWriteError(
                f"{self.path.parent}: a write failed or was broken off, and this writer can't go on",
                remedy="What was committed stands. Run the same command again.",
            )

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
        self._sums.extend(xxh3_64_intdigest(content[at : at + length]) for at in range(0, len(content), length))

    def _put(self, piece: NDArray[np.floating[Any]], offset: int) -> None:
        with plain_errors(self.path):
            write_at(self.file.descriptor, _bytes(piece), offset)


def _bytes(piece: NDArray[np.floating[Any]]) -> memoryview:
    return piece.reshape(-1).view(np.uint8).data


def block_rows(dim: int, dtype: np.dtype[Any]) -> int:
    """Tell how many rows share a checksum: about a page, which is what reading a row costs anyway."""
    return max(1, PAGE // (dim * dtype.itemsize))


def write_container(
    folder: Path,
    kind: str,
    attributes: Mapping[str, Any],
    datasets: Mapping[str, NDArray[Any]],
    embeddings: EmbeddingRows | EmbeddingStream | None = None,
    *,
    path: Path | None = None,
) -> FileEntry:
    """Write a container into ``folder``, under the name that follows from its content, or as ``path``.

    Raises
    ------
    StoreWriteError
        If it can't be written; nothing is left under its name.
    """
    from featstore.store.disk.hdf5 import Hole, lay_out  # reading needs no HDF5

    target = path.resolve() if path else folder / f"a new {kind}"
    facts, columns, hole = dict(attributes), dict(datasets), None
    user_block = _user_block(facts, columns)
    with ExitStack() as stack:
        stream = _streamed(embeddings, target, user_block)
        if stream:
            stack.enter_context(stream.open)
            columns[SUMS] = stream.end()
            facts["block_rows"] = stream.block_rows
            hole = Hole(EMBEDDINGS, stream.shape, stream.dtype)
        layout = lay_out(columns, _plain_attributes(kind, facts), hole, user_block)
        if stream:
            stream.put_rest(layout.offsets[EMBEDDINGS])
        file = stream.file if stream else stack.enter_context(draft(target))
        directory = _directory(kind, facts, columns, layout, hole, user_block)
        entry = FileEntry(hashlib.sha256(directory).hexdigest(), layout.size)
        line = f"featstore {FORMAT} {entry.sha256} {len(directory)} {user_block}\n".encode()
        layout.before[: len(line) + len(directory)] = line + directory
        write_at(file.descriptor, layout.before, 0)
        write_at(file.descriptor, layout.after, layout.hole[1])
        file.keep_as(target if path else folder / entry.file)
    return entry


def _plain_attributes(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Choose what other tools see as attributes of the file: whole numbers and text."""
    plain = {name: value for name, value in facts.items() if isinstance(value, (int, str))}
    return {"format": FORMAT, "kind": f"featstore {kind}", **plain}


def _streamed(
    embeddings: EmbeddingRows | EmbeddingStream | None, target: Path, user_block: int
) -> EmbeddingStream | None:
    """Write embeddings that are not written yet."""
    if not isinstance(embeddings, EmbeddingRows):
        return embeddings
    stream = EmbeddingStream(target, embeddings.dim, embeddings.dtype, user_block)
    try:
        for chunk in embeddings.chunks:
            stream.write(chunk)
    except BaseException:
        stream.open.close()
        raise
    return stream


def _directory(
    kind: str,
    attributes: Mapping[str, Any],
    datasets: Mapping[str, NDArray[Any]],
    layout: Layout,
    hole: Hole | None,
    user_block: int,
) -> bytes:
    """Write down where each dataset is, and the checksum of all but the embeddings."""
    described = {name: [value.dtype.str, list(value.shape), layout.offsets[name]] for name, value in datasets.items()}
    if hole:
        described[hole.name] = [hole.dtype.str, list(hole.shape), layout.offsets[hole.name]]
    rest = xxh3_64(memoryview(layout.before)[user_block:])
    rest.update(layout.after)
    directory = {"kind": kind, "bytes": layout.size, "rest": rest.hexdigest(), "datasets": described}
    return canonical_json({**directory, "attributes": dict(attributes)}).encode()


def _user_block(attributes: Mapping[str, Any], datasets: Mapping[str, NDArray[Any]]) -> int:
    """Size of the user block: a power of two, of at least a page, that the directory fits into."""
    needed = 512 + len(canonical_json(dict(attributes)).encode()) + sum(96 + len(name) for name in datasets)
    size = PAGE
    while size < needed:
        size *= 2
    return size
