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
from xxhash import xxh3_64

from featstore.recipe import canonical_json
from featstore.store.disk.container import EMBEDDINGS, FORMAT, PAGE, FileEntry
from featstore.store.disk.files import draft, write_at
from featstore.store.disk.stream import EmbeddingStream

if TYPE_CHECKING:
    from featstore.store.disk.hdf5 import Hole, Layout

__all__ = ["EmbeddingRows", "write_container"]


@dataclass(frozen=True)
class EmbeddingRows:
    """Embeddings that are read, or made, a chunk at a time while they are written."""

    dim: int
    dtype: np.dtype[Any]
    chunks: Iterable[NDArray[np.floating[Any]]]


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
            columns |= stream.end()
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
        stream.discard()
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
