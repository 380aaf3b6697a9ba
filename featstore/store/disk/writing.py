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

from featstore.recipe import canonical_json
from featstore.store.disk.container import EMBEDDINGS, FORMAT, PAGE, SUMS, FileEntry
from featstore.store.disk.files import Draft, draft, write_at

if TYPE_CHECKING:
    from featstore.store.disk.hdf5 import Hole, Layout

__all__ = ["Begun", "EmbeddingRows", "begin_container", "block_rows", "write_container"]


@dataclass(frozen=True)
class EmbeddingRows:
    """Embeddings on their way into a file: chunks of rows, each but the last a multiple of `block_rows` long."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chunks: Iterable[NDArray[np.floating[Any]]]

    @property
    def block_rows(self) -> int:
        """Rows that share a checksum: about a page, which is what reading a row costs anyway."""
        return block_rows(self.shape[1], self.dtype)


def block_rows(dim: int, dtype: np.dtype[Any]) -> int:
    """Tell how many rows share a checksum."""
    return max(1, PAGE // (dim * dtype.itemsize))


@dataclass(frozen=True, eq=False)
class Begun:
    """A container that is written whole, and has neither reached the disk nor got its name.

    Attributes
    ----------
    entry : FileEntry
    """

    entry: FileEntry
    _file: Draft
    _path: Path
    _open: ExitStack

    def keep(self) -> None:
        """Wait for the disk, and give it its name.

        Raises
        ------
        StoreWriteError
            If it can't be written; nothing is left under its name.
        """
        with self._open:
            self._file.keep_as(self._path)


def begin_container(
    folder: Path,
    kind: str,
    attributes: Mapping[str, Any],
    datasets: Mapping[str, NDArray[Any]],
    embeddings: EmbeddingRows | None = None,
    *,
    path: Path | None = None,
) -> Begun:
    """Write a container into ``folder``, for the name that follows from its content or for ``path``.

    Raises
    ------
    StoreWriteError
        If it can't be written.
    """
    from featstore.store.disk.hdf5 import Hole, lay_out  # reading needs no HDF5

    columns, hole = dict(datasets), None
    if embeddings:
        hole = Hole(EMBEDDINGS, embeddings.shape, embeddings.dtype)
        columns[SUMS] = np.zeros(-(-embeddings.shape[0] // embeddings.block_rows), dtype="<u8")
        attributes = {**attributes, "block_rows": embeddings.block_rows}
    user_block = _user_block(attributes, columns)
    plain = {name: value for name, value in attributes.items() if isinstance(value, (int, str))}
    layout = lay_out(columns, {"format": FORMAT, "kind": f"featstore {kind}", **plain}, hole, user_block)
    with ExitStack() as stack:
        target = path and path.resolve()
        file = stack.enter_context(draft(target or folder / "container"))
        if embeddings:
            layout.overwrite(SUMS, _write_rows(file.descriptor, embeddings, layout.offsets[EMBEDDINGS]))
        text = _directory(kind, attributes, columns, layout, hole, user_block)
        entry = FileEntry(hashlib.sha256(text).hexdigest(), layout.size)
        block = f"featstore {FORMAT} {entry.sha256} {len(text)} {user_block}\n".encode() + text
        layout.before[: len(block)] = block
        write_at(file.descriptor, layout.before, 0)
        write_at(file.descriptor, layout.after, layout.hole[1])
        return Begun(entry, file, target or folder / entry.file, stack.pop_all())


def write_container(*args: Any, **options: Any) -> FileEntry:
    """Write a container to the disk: `begin_container`, and `Begun.keep`."""
    begun = begin_container(*args, **options)
    begun.keep()
    return begun.entry


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


def _write_rows(descriptor: int, embeddings: EmbeddingRows, offset: int) -> NDArray[np.uint64]:
    """Write embeddings chunk by chunk, and return the checksums of their blocks."""
    length = embeddings.block_rows * embeddings.shape[1] * embeddings.dtype.itemsize
    sums: list[int] = []
    for chunk in embeddings.chunks:
        content = np.ascontiguousarray(chunk, dtype=embeddings.dtype).data.cast("B")
        sums.extend(xxh3_64_intdigest(content[at : at + length]) for at in range(0, len(content), length))
        write_at(descriptor, content, offset)
        offset += len(content)
    return np.array(sums, dtype="<u8")
