"""Containers: the one kind of HDF5 file that a store is made of.

Any HDF5 tool opens a container. In its user block, the first bytes of the file, stands a directory: where each dataset
is, and a checksum of everything but the embeddings. Embeddings have checksums of their own, a block of rows each. So
what a reader takes from a file has been checked against its checksum before, HDF5 parses nothing of it, and a random
row costs no more than its own page.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64, xxh3_64_intdigest

from featstore.errors import StoreFormatError
from featstore.recipe import canonical_json
from featstore.store.embeddings import Embeddings
from featstore.store.files import RESTORE, Draft, draft, open_regular, read_at, unreadable, write_at

if TYPE_CHECKING:
    from featstore.store.hdf5 import Hole, Layout

__all__ = [
    "FORMAT",
    "Begun",
    "Container",
    "EmbeddingRows",
    "FileEntry",
    "begin_container",
    "block_rows",
    "read_container",
    "write_container",
]

FORMAT = 1
"""The format of stores. Raise it when an older reader would misread a newer file, keep reading the older ones, and
keep a store of each in ``tests/store/archive``. A field that older readers may ignore needs no new number.
"""

EMBEDDINGS, SUMS = "embeddings", "embeddings_xxh3"
PAGE = 4096
_LARGEST_USER_BLOCK = 2**24
_FIRST_LINE = re.compile(rb"featstore (\d{1,9}) ([0-9a-f]{64}) (\d{1,9}) (\d{1,9})\n")
_TYPES = re.compile(r"<f4|<f2|<i4|<i8|<u8|\|S[1-9][0-9]{0,6}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """How a container is referred to: SHA-256 of its directory, size of the file."""

    sha256: str
    bytes: int

    @property
    def file(self) -> str:
        """The file's name, which follows from its content."""
        return f"{self.sha256[:32]}.h5"


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


@dataclass(frozen=True)
class Container:
    """A container that was read, its checksum right.

    Attributes
    ----------
    path : Path
    kind : str
        ``segment``, ``table`` or ``store``.
    attributes : dict
    datasets : dict of str to ndarray
        All but the embeddings; they can't be written to.
    embeddings : Embeddings or None
    entry : FileEntry
    """

    path: Path
    kind: str
    attributes: dict[str, Any]
    datasets: dict[str, NDArray[Any]]
    embeddings: Embeddings | None
    entry: FileEntry


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
    from featstore.store.hdf5 import Hole, lay_out  # reading needs no HDF5

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


def read_container(path: Path, kind: str, entry: FileEntry | None = None) -> Container:
    """Read a container: everything but the embeddings, which are only located.

    Parameters
    ----------
    path : Path
    kind : str
        What it has to be.
    entry : FileEntry, optional
        What refers to it: the file must be that one.

    Raises
    ------
    StoreFormatError
        If it is missing, not that file, damaged, or of a later format.
    """
    try:
        with open_regular(path) as (descriptor, size):
            directory, sha256, user_block = _read_directory(descriptor, path)
            if entry and (sha256, size) != (entry.sha256, entry.bytes):
                found = f"{size} bytes" if size != entry.bytes else "another file than the version lists"
                raise StoreFormatError(f"{path}: {found}", expected=f"the {entry.bytes} bytes written", remedy=RESTORE)
            if directory["kind"] != kind or directory["bytes"] != size:
                raise StoreFormatError(
                    f"{path}: a {directory['kind']} of {size} bytes",
                    expected=f"a {kind} of {directory['bytes']} bytes",
                    remedy=RESTORE,
                )
            described = {
                name: _Described.checked(name, value, user_block, size) for name, value in directory["datasets"].items()
            }
            hole = described.pop(EMBEDDINGS, None)
            start, stop = (hole.offset, hole.offset + hole.nbytes) if hole and hole.nbytes else (size, size)
            before = read_at(descriptor, user_block, start - user_block)
            after = read_at(descriptor, stop, size - stop)
            rest = xxh3_64(before)
            rest.update(after)
            if rest.hexdigest() != directory["rest"]:
                raise StoreFormatError(f"{path}: its checksum does not match", remedy=RESTORE)
            parts = ((user_block, before), (stop, after))
            datasets = {name: value.view(parts) for name, value in described.items()}
            embeddings = _located(path, hole, datasets, directory["attributes"]) if hole else None
            return Container(
                path, kind, directory["attributes"], datasets, embeddings, FileEntry(sha256, directory["bytes"])
            )
    except StoreFormatError:
        raise
    except (OSError, KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise unreadable(path, error, f"a {kind}") from error


@dataclass(frozen=True)
class _Described:
    """A dataset as the directory describes it."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def checked(cls, name: str, value: Any, user_block: int, size: int) -> _Described:
        kind, shape, offset = value
        if not _TYPES.fullmatch(kind) or len(shape) not in {1, 2}:
            raise ValueError(f"dataset {name!r} is {kind} of shape {shape}")
        if not all(type(number) is int and number >= 0 for number in (offset, *shape)):
            raise ValueError(f"dataset {name!r} is of shape {shape} at {offset}")
        described = cls(offset, tuple(shape), np.dtype(kind))
        if described.nbytes and not user_block <= offset <= offset + described.nbytes <= size:
            raise ValueError(f"dataset {name!r} is outside the file")
        return described

    @property
    def nbytes(self) -> int:
        count = 1
        for number in self.shape:
            count *= number
        return count * self.dtype.itemsize

    def view(self, parts: Iterable[tuple[int, bytes]]) -> NDArray[Any]:
        """Look at the dataset within the parts of the file that were read."""
        if not self.nbytes:
            return np.zeros(self.shape, dtype=self.dtype)
        for start, part in parts:
            if start <= self.offset and self.offset + self.nbytes <= start + len(part):
                count = self.nbytes // self.dtype.itemsize
                return np.frombuffer(part, self.dtype, count, self.offset - start).reshape(self.shape)
        raise ValueError("a dataset overlaps the embeddings")


def _located(
    path: Path, hole: _Described, datasets: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
) -> Embeddings:
    sums, rows = datasets[SUMS], attributes["block_rows"]
    if len(hole.shape) != 2 or hole.dtype.kind != "f" or 0 in hole.shape:
        raise ValueError(f"embeddings of shape {hole.shape}, {hole.dtype}")
    if (
        type(rows) is not int
        or not 0 < rows < 2**31
        or sums.dtype != np.uint64
        or sums.shape != (-(-hole.shape[0] // rows),)
    ):
        raise ValueError(f"{sums.shape} checksums for blocks of {rows} rows")
    return Embeddings(path, hole.offset, (hole.shape[0], hole.shape[1]), hole.dtype, rows, sums.copy())


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


def _read_directory(descriptor: int, path: Path) -> tuple[dict[str, Any], str, int]:
    """Read the directory; return it, its SHA-256, and the size of the user block."""
    block = read_at(descriptor, 0, PAGE)
    line = _FIRST_LINE.match(block)
    if not line:
        raise StoreFormatError(f"{path}: not a file that featstore wrote, or its beginning is damaged", remedy=RESTORE)
    number, sha256, length, user_block = int(line[1]), line[2].decode(), int(line[3]), int(line[4])
    if number != FORMAT:
        raise StoreFormatError(
            f"{path}: format {number}",
            expected=f"format {FORMAT}",
            remedy="Install a newer featstore: pip install --upgrade featstore",
        )
    if user_block.bit_count() != 1 or not max(PAGE, line.end() + length) <= user_block <= _LARGEST_USER_BLOCK:
        raise ValueError(f"a directory of {length} bytes in a user block of {user_block}")
    if user_block > PAGE:
        block = read_at(descriptor, 0, user_block)
    text = block[line.end() : line.end() + length]
    if hashlib.sha256(text).hexdigest() != sha256 or block[line.end() + length :].strip(b"\0"):
        raise StoreFormatError(f"{path}: the checksum of its directory does not match", remedy=RESTORE)
    return dict(json.loads(text)), sha256, user_block


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
