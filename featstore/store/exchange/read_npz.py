"""Reading ``.npz``, all arrays a chunk at a time: neither the file nor what it declares has to fit in memory."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.store.exchange.batches import COUNTS, TEXTS, Batch, Chunk, Header, Options, Source, batches_of
from featstore.store.exchange.foreign import (
    as_counts,
    as_text,
    numbers_in,
    reading,
    rows_at_a_time,
    stored_type,
)

__all__ = ["read_npz", "read_npz_header"]

KIND = "an .npz file"
NOTE = "featstore"
_LONGEST_NOTE = 2**24


@dataclass(frozen=True)
class _Member:
    """An array in the archive, open at its first row."""

    name: str
    stream: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, rows: int) -> NDArray[Any]:
        """Read the next rows."""
        content = self.stream.read(rows * self.row_bytes)
        return np.frombuffer(content, self.dtype).reshape(rows, *self.shape[1:])


def read_npz_header(source: Source, options: Options) -> Header:
    """Read the shapes and types of the arrays."""
    path = source.path
    with reading(path, KIND), ZipFile(path) as archive, ExitStack() as stack:
        members = _open_members(archive, stack, path, options)
        embeddings = members["embeddings"]
        note = _note(archive, stack)
        return Header(
            embeddings.shape[0], embeddings.shape[1], stored_type(embeddings.dtype), recipe=note.get("recipe")
        )


def read_npz(source: Source, options: Options) -> Iterator[Batch]:
    """Read the rows."""
    return batches_of(_chunks(source.path, options), source.path)


def _chunks(path: Path, options: Options) -> Iterator[Chunk]:
    with reading(path, KIND), ZipFile(path) as archive, ExitStack() as stack:
        members = _open_members(archive, stack, path, options)
        rows = members["embeddings"].shape[0]
        step = rows_at_a_time(sum(member.row_bytes for member in members.values()), path)
        for start in range(0, rows, step):
            columns = {name: member.read(min(step, rows - start)) for name, member in members.items()}
            yield Chunk(
                columns["embeddings"],
                as_text(columns["image"], "image", path),
                {name: as_counts(columns[name], name, path) for name in COUNTS if name in columns},
                {name: as_text(columns[name], name, path) for name in TEXTS if name in columns},
            )
        for member in members.values():
            member.stream.read(1)  # reaching the end checks the checksum


def _open_members(archive: ZipFile, stack: ExitStack, path: Path, options: Options) -> dict[str, _Member]:
    """Open the arrays that are wanted, and see that they belong together."""
    wanted = {f"{options.name(name)}.npy": name for name in ("embeddings", "image", *COUNTS, *TEXTS)}
    members: dict[str, _Member] = {}
    _require_all(archive, path)
    options.require_named((info.filename.removesuffix(".npy") for info in archive.infolist()), path)
    for info in archive.infolist():
        stream = _open(archive, info, stack, path)  # those not wanted too: names that were damaged show
        name = wanted.get(info.filename)
        if name in members:
            raise DataError(f"{path}: {info.filename} is there twice")
        if name:
            members[name] = _located(name, stream, info, path)
    missing = sorted({"embeddings", "image"} - members.keys())
    if missing:
        there = ", ".join(info.filename.removesuffix(".npy") for info in archive.infolist()[:10])
        raise DataError(
            f"{path}: no array {options.name(missing[0])!r} but {there or 'nothing'}", expected="embeddings, image"
        )
    _require_fit(members, path)
    return members


def _require_all(archive: ZipFile, path: Path) -> None:
    """Compare the number of members with the one that the archive ends with, which zipfile itself does not."""
    with path.open("rb") as stream:
        stream.seek(-len(archive.comment) - 12, io.SEEK_END)
        (count,) = struct.unpack("<H", stream.read(2))
    if count != len(archive.infolist()):
        raise DataError(f"{path}: lists {len(archive.infolist())} arrays", expected=f"{count}, as it says at its end")


def _open(archive: ZipFile, info: ZipInfo, stack: ExitStack, path: Path) -> IO[bytes]:
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise DataError(f"{path}: {info.filename} is compressed in a way that numpy never does")
    return stack.enter_context(archive.open(info))


def _located(name: str, stream: IO[bytes], info: ZipInfo, path: Path) -> _Member:
    """Read the header of an array; what it declares must be what the archive holds."""
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise DataError(f"{path}: {info.filename} is of version {version} of numpy's format", expected="1.0 or 2.0")
    shape, by_columns, dtype = read_header(stream)
    if dtype.hasobject:
        raise DataError(
            f"{path}: {info.filename} holds Python objects, which are not read: they can run code",
            remedy="Save texts as an array of str: np.array(values, dtype=str).",
        )
    if by_columns and len(shape) > 1:
        raise DataError(
            f"{path}: {info.filename} is stored column by column", remedy="Save np.ascontiguousarray(array)."
        )
    if dtype.itemsize == 0 or prod(shape) * dtype.itemsize != info.file_size - stream.tell():
        raise DataError(f"{path}: {info.filename} declares {shape} of {dtype}, which is not what it holds")
    return _Member(name, stream, shape, dtype)


def _require_fit(members: Mapping[str, _Member], path: Path) -> None:
    embeddings = members["embeddings"]
    numbers_in(embeddings.dtype, embeddings.shape, "embeddings", path)
    for name, member in members.items():
        if name != "embeddings" and member.shape != embeddings.shape[:1]:
            raise DataError(
                f"{path}: {name} of shape {member.shape} with embeddings of shape {embeddings.shape}",
                expected="one value an embedding",
            )


def _note(archive: ZipFile, stack: ExitStack) -> dict[str, Any]:
    """Read what featstore noted at an export."""
    info = archive.NameToInfo.get(f"{NOTE}.npy")
    if info is None or info.file_size > _LONGEST_NOTE:
        return {}
    content = np.load(io.BytesIO(stack.enter_context(archive.open(info)).read()), allow_pickle=False)
    return dict(json.loads(str(content)))
