"""Segments: immutable files of embeddings with their keys, and of what the embeddings were computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import StoreFormatError, StoreWriteError
from featstore.store.disk.columns import encoded, is_fixed
from featstore.store.disk.container import Container, FileEntry, read_container
from featstore.store.disk.embeddings import Embeddings
from featstore.store.disk.opening import RESTORE
from featstore.store.disk.stream import EmbeddingStream
from featstore.store.disk.writing import EmbeddingRows, write_container

__all__ = [
    "BLOB_COLUMNS",
    "IDENTITY_COLUMNS",
    "OF_SCALES",
    "Segment",
    "SegmentEntry",
    "SegmentRows",
    "is_scaled",
    "read_segment",
    "write_segment",
]

SEGMENT_BYTES = 64 * 2**20
"""Embeddings that go into one segment: large enough to be read as one piece, small enough to be
written anew in a moment."""

KEY_COLUMNS = ("image", "blob", "repeat")
IDENTITY_COLUMNS = ("image", "sha256", "mask_sha256")
BLOB_COLUMNS = ("image", "blob", "area_px", "x0", "y0", "x1", "y1", "scale", "parent")
OF_SCALES = 2
"""So many of the last columns are in a file only where some crop is not its blob's own."""


@dataclass(frozen=True, slots=True)
class SegmentEntry(FileEntry):
    """How a version lists a segment: the file, and its number of rows."""

    rows: int


@dataclass(frozen=True)
class SegmentRows:
    """The content of a segment.

    Attributes
    ----------
    embeddings : EmbeddingRows or EmbeddingStream
    image, blob, repeat : ndarray of shape (n,), int32
        ``image`` counts within ``images``.
    images : list of (str, str, str)
        Name, and digests of image and mask: the content that the rows were computed from.
    blobs : ndarray of shape (n_blobs, 9), int32
        The blobs cropped: `BLOB_COLUMNS`, the box half-open in pixels of the image.
    """

    embeddings: EmbeddingRows | EmbeddingStream
    image: NDArray[np.int32]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]
    images: list[tuple[str, str, str]]
    blobs: NDArray[np.int32]

    def key_datasets(self) -> dict[str, NDArray[Any]]:
        """Lay the keys and blobs out as datasets."""
        keys = {name: np.ascontiguousarray(getattr(self, name), dtype="<i4") for name in KEY_COLUMNS}
        names = BLOB_COLUMNS if is_scaled(self.blobs) else BLOB_COLUMNS[:-OF_SCALES]
        blobs = {f"blobs/{name}": np.ascontiguousarray(self.blobs[:, i], "<i4") for i, name in enumerate(names)}
        return {**keys, **blobs}


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment opened for reading: its keys in memory, its embeddings located.

    Attributes
    ----------
    image, blob, repeat : ndarray of shape (n,), int32
        ``image`` counts within ``images``.
    images : dict of str to ndarray of shape (n_images,), bytes
        ``image``, ``sha256`` and ``mask_sha256``, in UTF-8.
    blobs : ndarray of shape (n_blobs, 9), int32
    embeddings : Embeddings
    """

    image: NDArray[np.int32]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]
    images: dict[str, NDArray[np.bytes_]]
    blobs: NDArray[np.int32]
    embeddings: Embeddings

    @property
    def path(self) -> Path:
        """The file."""
        return self.embeddings.path


def write_segment(folder: Path, rows: SegmentRows, fingerprint: str) -> SegmentEntry:
    """Write a segment into ``folder`` and return its entry.

    Raises
    ------
    StoreWriteError
        If it can't be written.
    """
    if isinstance(rows.embeddings, EmbeddingStream) and rows.embeddings.shape[0] != len(rows.image):
        raise StoreWriteError(
            f"{folder}: {rows.embeddings.shape[0]} embeddings, {len(rows.image)} keys: adding some was broken off",
            remedy="What was committed stands. Run the same command again.",
        )
    columns = zip(IDENTITY_COLUMNS, zip(*rows.images, strict=True), strict=True)
    datasets = {**rows.key_datasets(), **{f"images/{name}": encoded(values) for name, values in columns}}
    entry = write_container(folder, "segment", {"fingerprint": fingerprint}, datasets, rows.embeddings)
    return SegmentEntry(entry.sha256, entry.bytes, len(rows.image))


def read_segment(folder: Path, entry: SegmentEntry, *, fingerprint: str, dim: int) -> Segment:
    """Open a segment: read its keys, locate its embeddings.

    Raises
    ------
    StoreFormatError
        If the file is missing, another one than the version says, damaged, or no segment of this store.
    """
    container = read_container(folder / entry.file, "segment", entry)
    return segment_of(container, entry.rows, fingerprint=fingerprint, dim=dim)


def segment_of(container: Container, rows: int, *, fingerprint: str, dim: int) -> Segment:
    """Take a container's keys and embeddings for a segment.

    Raises
    ------
    StoreFormatError
        If they don't fit together.
    """
    path, stored, embeddings = container.path, container.datasets, container.embeddings
    if embeddings is None or embeddings.shape != (rows, dim) or container.attributes.get("fingerprint") != fingerprint:
        found = "no embeddings" if embeddings is None else f"embeddings of shape {embeddings.shape}"
        raise StoreFormatError(
            f"{path}: {found}, of recipe {str(container.attributes.get('fingerprint'))[:12]}",
            expected=f"({rows}, {dim}), of recipe {fingerprint[:12]}",
            remedy=RESTORE,
        )
    try:
        images = {name: stored[f"images/{name}"] for name in IDENTITY_COLUMNS}
        count = len(images["image"])
        if not all(is_fixed(column, count) for column in images.values()):
            raise ValueError("columns of images that don't fit together")
        keys = {name: _int32_column(stored[name], rows) for name in KEY_COLUMNS}
        blobs = _blobs(stored)
    except (KeyError, ValueError) as error:
        raise StoreFormatError(f"{path}: not readable as a segment ({error})", remedy=RESTORE) from error
    if min(int(column.min()) for column in (keys["blob"], keys["repeat"])) < 0:
        raise StoreFormatError(f"{path}: a key below 0", remedy=RESTORE)
    _require_images(path, count, (keys["image"], blobs[:, 0]))
    return Segment(**keys, images=images, blobs=blobs, embeddings=embeddings)


def is_scaled(blobs: NDArray[np.int32]) -> bool:
    """Tell whether a crop in `BLOB_COLUMNS` is another than its blob's own: at a larger scale, or a tile."""
    number, scale, parent = (blobs[:, BLOB_COLUMNS.index(name)] for name in ("blob", "scale", "parent"))
    return bool((scale != 1).any() or (parent != number).any())


def _blobs(stored: Mapping[str, NDArray[Any]]) -> NDArray[np.int32]:
    """Put the columns of blobs together; where nothing is said of scales, each crop is its blob's own."""
    columns = [stored[f"blobs/{name}"] for name in BLOB_COLUMNS[:-OF_SCALES]]
    own = {"scale": np.ones_like(columns[1]), "parent": columns[1]}
    columns += [stored.get(f"blobs/{name}", own[name]) for name in BLOB_COLUMNS[-OF_SCALES:]]
    return np.stack([_int32_column(values, len(columns[0])) for values in columns], axis=1)


def _int32_column(values: NDArray[Any], count: int) -> NDArray[np.int32]:
    if values.shape != (count,) or values.dtype != np.int32:
        raise ValueError(f"a column of shape {values.shape}, {values.dtype}")
    return values


def _require_images(path: Path, count: int, columns: Iterable[NDArray[np.int32]]) -> None:
    for column in columns:
        if len(column) and not 0 <= int(column.min()) <= int(column.max()) < count:
            raise StoreFormatError(f"{path}: keys that point at no image", remedy=RESTORE)
