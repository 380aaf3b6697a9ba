"""Segments: immutable HDF5 files with embeddings, their keys and checksums.

A segment is built in memory and handed to the file system as finished bytes: HDF5 never has a file of the store open
for writing, so no lock is taken and no half-written HDF5 file can exist under a segment's name. The name is the
SHA-256 of the bytes, so writing one twice changes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featstore.errors import StoreFormatError
from featstore.store.files import write_atomically

__all__ = ["BLOB_COLUMNS", "FORMAT", "Segment", "SegmentEntry", "SegmentRows", "read_segment", "write_segment"]

FORMAT = 1
"""The format of stores. Raise it when an older reader would misread a newer file, keep reading the older ones, and
add a file of the older format to ``tests/store/archive``. A field that older readers may ignore needs no new number.
"""

KEY_COLUMNS = ("image", "blob", "repeat")
BLOB_COLUMNS = ("image", "blob", "area_px", "x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """How a version lists a segment: file name, number of rows, size and SHA-256 of the file."""

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentRows:
    """The content of a segment.

    Attributes
    ----------
    embeddings : ndarray of shape (n, dim), float32 or float16
    image, blob, repeat : ndarray of shape (n,), int32
        ``image`` counts within ``names``.
    names, sha256, mask_sha256 : list of str
        The images, and the content that their rows were computed from.
    blobs : ndarray of shape (n_blobs, 7), int32
        The blobs cropped: `BLOB_COLUMNS`, the box half-open in pixels of the image.
    """

    embeddings: NDArray[np.floating[Any]]
    image: NDArray[np.int32]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]
    names: list[str]
    sha256: list[str]
    mask_sha256: list[str]
    blobs: NDArray[np.int32]


@dataclass(frozen=True)
class Segment:
    """A segment opened for reading: its keys in memory, and where in the file its embeddings stand.

    Attributes
    ----------
    image, blob, repeat : ndarray of shape (n,), int32
    names : list of str
    identities : list of (str, str)
        Digests of each image and its mask.
    """

    path: Path
    image: NDArray[np.int32]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]
    names: list[str]
    identities: list[tuple[str, str]]
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def mapped(self) -> NDArray[np.floating[Any]]:
        """Map the embeddings: a random row costs a microsecond, through HDF5 thirty.

        The mapping holds the file open only while it is referred to, so a store may have more segments than a process
        may open files.
        """
        try:
            return np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape)
        except (OSError, ValueError) as error:
            raise _unreadable(self.path, error) from error


def write_segment(folder: Path, rows: SegmentRows, fingerprint: str) -> SegmentEntry:
    """Write a segment into ``folder`` and return its entry.

    Raises
    ------
    StoreWriteError
        If it can't be written.
    """
    content = _to_hdf5(rows, fingerprint)
    digest = hashlib.sha256(content).hexdigest()
    name = f"{digest[:32]}.h5"
    write_atomically(folder / name, content)
    return SegmentEntry(name, len(rows.embeddings), len(content), digest)


def read_segment(folder: Path, entry: SegmentEntry, *, fingerprint: str, dim: int) -> Segment:
    """Open a segment: read its keys, map its embeddings.

    Raises
    ------
    StoreFormatError
        If the file is missing, of another size than the version says, or no segment of this store.
    """
    path = folder / entry.file
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise StoreFormatError(f"{path}: {size} bytes", expected=f"{entry.bytes} bytes", remedy=_RESTORE)
        # Through Python's own file HDF5 takes no lock, and does not mind if others have the file open with locks.
        with path.open("rb") as stream, h5py.File(stream, "r") as file:
            if int(file.attrs["format"]) != FORMAT or str(file.attrs["fingerprint"]) != fingerprint:
                raise StoreFormatError(f"{path}: not a segment of this store", remedy=_RESTORE)
            return _from_hdf5(file, path, entry.rows, dim)
    except StoreFormatError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


_RESTORE = "Restore the file from a copy."


def _unreadable(path: Path, error: Exception) -> StoreFormatError:
    """Tell a file that is damaged from one that only can't be read at the moment."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return StoreFormatError(f"{path}: missing", remedy=_RESTORE)
    if number:
        return StoreFormatError(f"{path}: can't be read now ({os.strerror(number)})", remedy="Mend that and try again.")
    return StoreFormatError(f"{path}: not readable as a segment ({error})", remedy=_RESTORE)


def _to_hdf5(rows: SegmentRows, fingerprint: str) -> bytes:
    """Build the file in memory, by HDF5 alone: through Python's own streams an interrupt could get lost in it."""
    memory = {"driver": "core", "backing_store": False, "block_size": 1 << 22}
    with h5py.File(f"segment-{secrets.token_hex(8)}", "w", libver=("v110", "v110"), **memory) as file:
        file.attrs.update({"format": FORMAT, "kind": "featstore segment", "fingerprint": fingerprint})
        _put(file, "embeddings", np.ascontiguousarray(rows.embeddings))
        for name in KEY_COLUMNS:
            _put(file, name, np.asarray(getattr(rows, name), dtype=np.int32))
        _put(file, "images/name", _fixed(rows.names))
        _put(file, "images/sha256", _fixed(rows.sha256))
        _put(file, "images/mask_sha256", _fixed(rows.mask_sha256))
        for position, name in enumerate(BLOB_COLUMNS):
            _put(file, f"blobs/{name}", np.ascontiguousarray(rows.blobs[:, position]))
        file.flush()
        image: bytes = file.id.get_file_image()
        return image


def _put(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    """Write a contiguous dataset and, as an attribute, the CRC-32 of its bytes."""
    dataset = file.create_dataset(name, data=values)
    dataset.attrs["crc32"] = np.uint32(zlib.crc32(values.view(np.uint8).data))


def _fixed(texts: list[str]) -> NDArray[np.bytes_]:
    """UTF-8 of fixed length, padded with zeros: any HDF5 tool reads it, and nothing in the file is an object."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")


def _from_hdf5(file: h5py.File, path: Path, n: int, dim: int) -> Segment:
    embeddings = file["embeddings"]
    if embeddings.shape != (n, dim) or embeddings.dtype not in (np.float32, np.float16):
        raise StoreFormatError(
            f"{path}: embeddings of shape {embeddings.shape}, {embeddings.dtype}",
            expected=f"({n}, {dim}), float32 or float16",
            remedy=_RESTORE,
        )
    offset = embeddings.id.get_offset()
    if offset is None:
        raise StoreFormatError(f"{path}: embeddings are not contiguous", remedy=_RESTORE)
    keys = {name: _column(file, name, n, path) for name in KEY_COLUMNS}
    names, images, masks = (_texts(file[f"images/{name}"][...]) for name in ("name", "sha256", "mask_sha256"))
    pointed = keys["image"]
    if not len(names) == len(images) == len(masks) or not 0 <= pointed.min() <= pointed.max() < len(names):
        raise StoreFormatError(f"{path}: keys that point at no image", remedy=_RESTORE)
    identities = list(zip(images, masks, strict=True))
    return Segment(
        path, **keys, names=names, identities=identities, offset=offset, shape=(n, dim), dtype=embeddings.dtype
    )


def _column(file: h5py.File, name: str, n: int, path: Path) -> NDArray[np.int32]:
    values = file[name]
    if values.shape != (n,) or values.dtype != np.int32:
        raise StoreFormatError(
            f"{path}: column {name!r} of shape {values.shape}, {values.dtype}", expected=f"({n},), int32"
        )
    column: NDArray[np.int32] = values[...]
    return column


def _texts(values: NDArray[np.bytes_]) -> list[str]:
    return [bytes(value).decode() for value in values]
