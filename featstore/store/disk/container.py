"""Containers: the one kind of HDF5 file that a store is made of.

Any HDF5 tool opens a container. In its user block, the first bytes of the file, stands a directory: where each dataset
is, and a checksum of everything but the embeddings. Embeddings have checksums of their own, a block of rows each. So
what a reader takes from a file has been checked against its checksum before, HDF5 parses nothing of it, and a random
row costs no more than its own page.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64

from featstore.errors import StoreFormatError
from featstore.store.disk.embeddings import GROUP_BLOCKS, Embeddings
from featstore.store.disk.opening import RESTORE, open_regular, read_at, unreadable

__all__ = [
    "EMBEDDINGS",
    "FORMAT",
    "GROUP_SUMS",
    "PAGE",
    "SUMS",
    "Container",
    "FileEntry",
    "read_container",
    "require_format",
]

FORMAT = 1
"""The format of stores. Raise it when an older reader would misread a newer file, keep reading the older ones, and
keep a store of each in ``tests/store/archive``. A field that older readers may ignore needs no new number.
"""

EMBEDDINGS, SUMS, GROUP_SUMS = "embeddings", "embeddings_xxh3", "embeddings_xxh3_64"
PAGE = 4096
_LARGEST_USER_BLOCK = 2**24
_STRUCTURE, _STRUCTURE_OF_ONE = 2**24, 2**13
"""Bytes that HDF5's own structure may take, and how many more for each dataset: far more than it does take."""
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
            found = FileEntry(sha256, size)
            _require(path, directory, kind, found, entry)
            described = _described(path, directory["datasets"], user_block, size)
            hole = described.pop(EMBEDDINGS, None)
            parts = _read_around(descriptor, hole, user_block, size)
        if _checksum(parts) != directory["rest"]:
            raise StoreFormatError(f"{path}: its checksum does not match", remedy=RESTORE)
        datasets = {name: value.view(parts) for name, value in described.items()}
        embeddings = _located(path, hole, datasets, directory["attributes"]) if hole else None
        return Container(path, kind, directory["attributes"], datasets, embeddings, found)
    except StoreFormatError:
        raise
    except (OSError, KeyError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise unreadable(path, error, f"a {kind}") from error


def _require(path: Path, directory: Mapping[str, Any], kind: str, found: FileEntry, entry: FileEntry | None) -> None:
    """Refuse a file that is not what refers to it, or of another kind or size than it says itself."""
    if entry and (found.sha256, found.bytes) != (entry.sha256, entry.bytes):
        other = f"{found.bytes} bytes" if found.bytes != entry.bytes else "another file than the version lists"
        raise StoreFormatError(f"{path}: {other}", expected=f"the {entry.bytes} bytes written", remedy=RESTORE)
    if (directory["kind"], directory["bytes"]) != (kind, found.bytes):
        raise StoreFormatError(
            f"{path}: a {directory['kind']} of {found.bytes} bytes",
            expected=f"a {kind} of {directory['bytes']} bytes",
            remedy=RESTORE,
        )


def _described(path: Path, datasets: Mapping[str, Any], user_block: int, size: int) -> dict[str, _Described]:
    """Check what a directory says of its datasets, and that the file is not much larger than they are."""
    described = {name: _Described.checked(name, value, user_block, size) for name, value in datasets.items()}
    most = sum(value.nbytes + _STRUCTURE_OF_ONE for value in described.values()) + user_block + _STRUCTURE
    if size > most:
        raise StoreFormatError(f"{path}: {size} bytes", expected=f"at most {most} for its datasets", remedy=RESTORE)
    return described


def _read_around(
    descriptor: int, hole: _Described | None, user_block: int, size: int
) -> tuple[tuple[int, bytearray], ...]:
    """Read what is before the embeddings and what is behind, and tell where each of the two begins."""
    start, stop = (hole.offset, hole.offset + hole.nbytes) if hole and hole.nbytes else (size, size)
    before, after = read_at(descriptor, user_block, start - user_block), read_at(descriptor, stop, size - stop)
    return (user_block, before), (stop, after)


def _checksum(parts: Iterable[tuple[int, bytearray]]) -> str:
    rest = xxh3_64()
    for _, part in parts:
        rest.update(part)
    return rest.hexdigest()


@dataclass(frozen=True)
class _Described:
    """A dataset as the directory describes it."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int

    @classmethod
    def checked(cls, name: str, value: Any, user_block: int, size: int) -> _Described:
        """Check type, shape and place; datasets that overlap harm nobody, for they are only looked at."""
        kind, shape, offset = value
        if not _TYPES.fullmatch(kind) or len(shape) not in {1, 2}:
            raise ValueError(f"dataset {name!r} is {kind} of shape {shape}")
        if not all(type(number) is int and number >= 0 for number in (offset, *shape)):
            raise ValueError(f"dataset {name!r} is of shape {shape} at {offset}")
        dtype = np.dtype(kind)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes and not user_block <= offset <= offset + nbytes <= size:
            raise ValueError(f"dataset {name!r} is outside the file")
        return cls(offset, tuple(shape), dtype, nbytes)

    def view(self, parts: Iterable[tuple[int, bytearray]]) -> NDArray[Any]:
        """Look at the dataset within the parts of the file that were read."""
        for start, part in parts:
            if not self.nbytes or start <= self.offset <= self.offset + self.nbytes <= start + len(part):
                values = np.ndarray(self.shape, self.dtype, part, self.offset - start if self.nbytes else 0)
                values.flags.writeable = False
                return values
        raise ValueError("a dataset overlaps the embeddings")


def _located(
    path: Path, hole: _Described, datasets: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
) -> Embeddings:
    sums, groups, rows = datasets[SUMS], datasets[GROUP_SUMS], attributes["block_rows"]
    if len(hole.shape) != 2 or hole.dtype.kind != "f" or 0 in hole.shape:
        raise ValueError(f"embeddings of shape {hole.shape}, {hole.dtype}")
    if (
        type(rows) is not int
        or not (rows == 1 or 1 < rows <= PAGE // (hole.shape[1] * hole.dtype.itemsize))
        or not sums.dtype == groups.dtype == np.uint64
        or sums.shape != (-(-hole.shape[0] // rows),)
        or groups.shape != (-(-hole.shape[0] // (rows * GROUP_BLOCKS)),)
    ):
        raise ValueError(f"{sums.shape} checksums for blocks of {rows} rows")
    return Embeddings(path, hole.offset, (hole.shape[0], hole.shape[1]), hole.dtype, rows, sums.copy(), groups.copy())


def require_format(path: Path, number: int) -> None:
    """Refuse a format that is not known here.

    Raises
    ------
    StoreFormatError
    """
    if number != FORMAT:
        upgrade = "Install a newer featstore: pip install --upgrade featstore"
        raise StoreFormatError(f"{path}: format {number}", expected=f"format {FORMAT}", remedy=upgrade)


def _read_directory(descriptor: int, path: Path) -> tuple[dict[str, Any], str, int]:
    """Read the directory; return it, its SHA-256, and the size of the user block."""
    block = read_at(descriptor, 0, PAGE)
    line = _FIRST_LINE.match(block)
    if not line:
        raise StoreFormatError(f"{path}: not a file that featstore wrote, or its beginning is damaged", remedy=RESTORE)
    number, sha256, length, user_block = int(line[1]), line[2].decode(), int(line[3]), int(line[4])
    require_format(path, number)
    if user_block.bit_count() != 1 or not max(PAGE, line.end() + length) <= user_block <= _LARGEST_USER_BLOCK:
        raise ValueError(f"a directory of {length} bytes in a user block of {user_block}")
    if user_block > PAGE:
        block = read_at(descriptor, 0, user_block)
    text = block[line.end() : line.end() + length]
    if hashlib.sha256(text).hexdigest() != sha256 or block[line.end() + length :].strip(b"\0"):
        raise StoreFormatError(f"{path}: the checksum of its directory does not match", remedy=RESTORE)
    directory = json.loads(text)
    if not all(isinstance(directory[name], dict) for name in ("datasets", "attributes")):
        raise ValueError("a directory without datasets or attributes")
    return directory, sha256, user_block
