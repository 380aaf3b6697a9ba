"""One file of named byte strings: a zip archive with nothing in it that varies, compresses or runs."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featstore.errors import ModelError, ModelFormatError
from featstore.store.disk.files import write_atomically

__all__ = ["array_from_bytes", "array_to_bytes", "is_safetensors", "read_archive", "write_archive"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
_NAMES = re.compile(r"model\.json|arrays/[0-9]{4,6}\.npy|xgboost/[0-9]{4,6}\.ubj")
_MOST_MEMBERS = 100_000
_LARGEST_JSON = 64 << 20
_KINDS = "biufU"
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(\|b1|\|[iu]1|<[iu][248]|<f[248]|<U[0-9]{1,6})', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,15}, )*(?:[0-9]{1,15},?)?)\), \} *\n"
)


def write_archive(path: Path, members: Mapping[str, bytes]) -> None:
    """Write the members in the order of their names, stored, all with one date; whole or not at all.

    Raises
    ------
    StoreWriteError
        If the file can't be written; what was at ``path`` stands.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, members[name])
    write_atomically(path, buffer.getbuffer())


def read_archive(path: Path) -> dict[str, bytes]:
    """Return all members. Nothing is unpacked: a stored member is as long as its part of the file.

    Raises
    ------
    ModelFormatError
        If the file is no archive as `write_archive` makes them.
    ModelError
        If it can't be read.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_directory(archive.infolist(), path.stat().st_size)
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except OSError as error:
        raise ModelError(
            f"{path} can't be read ({error.strerror or error})",
            expected="a model file",
            remedy="Fit one: featstore fit.",
        ) from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error) as error:
        raise ModelFormatError(f"this is no model file, or a damaged one ({error})") from error


def array_to_bytes(array: NDArray[np.generic]) -> bytes:
    """Return an array of numbers, booleans or strings as an .npy file; `ModelFormatError` for what it may not hold."""
    if array.dtype.kind not in _KINDS:
        raise ModelFormatError(f"an array of type {array.dtype}", expected="numbers, booleans or strings")
    _check_finite(array)
    little = np.ascontiguousarray(array).reshape(array.shape)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, little.astype(little.dtype.newbyteorder("<")), (1, 0), allow_pickle=False)
    return buffer.getvalue()


def array_from_bytes(data: bytes) -> NDArray[np.generic]:
    """Read an .npy file; its header is checked against its length before anything is reserved."""
    length = int.from_bytes(data[8:10], "little")
    header = _HEADER.fullmatch(data[10 : 10 + length])
    if data[:8] != _MAGIC or header is None:
        raise ModelFormatError("an array with another header", expected="numbers or strings as NumPy writes them")
    dtype, shape = np.dtype(header[1].decode()), tuple(int(n) for n in header[2].split(b",") if n.strip())
    body = data[10 + length :]
    if dtype.itemsize == 0 or len(body) != math.prod(shape) * dtype.itemsize:
        raise ModelFormatError(f"an array of shape {shape} in {len(body)} bytes", expected="as many as its shape says")
    array: NDArray[np.generic] = np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    _check_finite(array)
    return array


def _check_directory(infos: list[zipfile.ZipInfo], file_size: int) -> None:
    names = [info.filename for info in infos]
    strange = [name for name in names if not _NAMES.fullmatch(name)]
    if strange or len(set(names)) < len(names) or len(names) > _MOST_MEMBERS:
        raise ModelFormatError(
            f"an archive with members that no model has ({(strange or names)[0][:80]!r})",
            expected="model.json, arrays/*.npy and xgboost/*.ubj, each once",
        )
    packed = [info for info in infos if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1]
    total = sum(info.file_size for info in infos)
    if packed or total > file_size or any(info.file_size != info.compress_size for info in infos):
        raise ModelFormatError("an archive with compressed, encrypted or overlapping members", expected="stored ones")
    largest = next((info.file_size for info in infos if info.filename == "model.json"), None)
    if largest is None or largest > _LARGEST_JSON:
        raise ModelFormatError(
            "no model.json" if largest is None else f"a model.json of {largest} bytes",
            expected=f"one of at most {_LARGEST_JSON} bytes",
        )


def _check_finite(array: NDArray[np.generic]) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelFormatError("an array that holds NaN or infinity", expected="finite numbers")


def is_safetensors(path: Path | str) -> bool:
    """Tell by its first bytes whether a file holds fine-tuned networks (safetensors) and no such archive."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return start[8:] == b"{"
