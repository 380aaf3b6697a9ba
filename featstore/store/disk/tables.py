"""Tables: what versions say of segments and images, in columns.

A version lists a few tables, which add up: a commit adds a small one, and takes smaller ones before it into itself, so
that there are never more than a logarithm of them, and each row is written anew a logarithm of times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import StoreFormatError
from featstore.store.disk.columns import ImageTable
from featstore.store.disk.container import FileEntry, read_container
from featstore.store.disk.opening import RESTORE
from featstore.store.disk.segments import SegmentEntry
from featstore.store.disk.writing import write_container

__all__ = ["SegmentList", "Table", "TableEntry", "add_up", "read_table", "settle", "write_table"]

FOLDER = "tables"


@dataclass(frozen=True, slots=True)
class TableEntry(FileEntry):
    """How a version lists a table: the file, and how many segments and images it holds."""

    segments: int
    images: int

    @property
    def size(self) -> int:
        """Rows of both kinds."""
        return self.segments + self.images


@dataclass(frozen=True, eq=False)
class SegmentList:
    """Segments in the order in which they were committed, as columns: entries are made when they are asked for.

    Attributes
    ----------
    sha256 : ndarray of shape (n,), bytes
    bytes, rows : ndarray of shape (n,), int64
    """

    sha256: NDArray[np.bytes_]
    bytes: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, entries: Sequence[SegmentEntry]) -> SegmentList:
        """Make columns of entries."""
        sizes, rows = (np.array([getattr(entry, name) for entry in entries], dtype="<i8") for name in ("bytes", "rows"))
        return cls(np.array([entry.sha256.encode() for entry in entries], dtype="S64"), sizes, rows)

    @classmethod
    def joined(cls, lists: Sequence[SegmentList]) -> SegmentList:
        """Put lists one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in lists]) for name in ("sha256", "bytes", "rows")))

    def __len__(self) -> int:
        return len(self.sha256)

    def entries(self) -> tuple[SegmentEntry, ...]:
        """Make the entries; a segment that is listed twice counts once."""
        digests = [digest.decode() for digest in self.sha256.tolist()]
        return tuple(dict.fromkeys(map(SegmentEntry, digests, self.bytes.tolist(), self.rows.tolist())))


@dataclass(frozen=True)
class Table:
    """Segments, and rows of images."""

    segments: SegmentList
    images: ImageTable

    @property
    def size(self) -> int:
        """Rows of both kinds."""
        return len(self.segments) + len(self.images)


def add_up(tables: Sequence[Table]) -> Table:
    """Add tables up, the earlier first."""
    segments = SegmentList.joined([table.segments for table in tables])
    return Table(segments, ImageTable.merged([table.images for table in tables]))


def settle(
    store: Path,
    fingerprint: str,
    before: Sequence[TableEntry],
    new: Table,
    known: Mapping[TableEntry, Table] | None = None,
) -> tuple[TableEntry, ...]:
    """Add a table to those of a version, and take in those before it that are not much larger; some may be known."""
    kept = list(before)
    while kept and kept[-1].size <= 2 * new.size:
        entry = kept.pop()
        earlier = (known or {}).get(entry) or read_table(store, entry, fingerprint)
        new = add_up([earlier, new])
    return (*kept, write_table(store, new, fingerprint)) if new.size else tuple(kept)


def write_table(store: Path, table: Table, fingerprint: str) -> TableEntry:
    """Write a table and return its entry.

    Raises
    ------
    StoreWriteError
        If it can't be written.
    """
    datasets: dict[str, NDArray[Any]] = {
        f"segments/{name}": getattr(table.segments, name) for name in ("sha256", "bytes", "rows")
    }
    datasets |= table.images.to_datasets()
    entry = write_container(store / FOLDER, "table", {"fingerprint": fingerprint}, datasets)
    return TableEntry(entry.sha256, entry.bytes, len(table.segments), len(table.images))


def read_table(store: Path, entry: TableEntry, fingerprint: str) -> Table:
    """Read a table.

    Raises
    ------
    StoreFormatError
        If it is missing, damaged, or of another store.
    """
    path = store / FOLDER / entry.file
    container = read_container(path, "table", entry)
    images = ImageTable.from_datasets(container.datasets, str(path))
    segments = _segments(container.datasets, path)
    if (len(segments), len(images)) != (entry.segments, entry.images):
        raise StoreFormatError(
            f"{path}: {len(segments)} segments, {len(images)} images",
            expected=f"{entry.segments} and {entry.images}",
            remedy=RESTORE,
        )
    if container.attributes.get("fingerprint") != fingerprint:
        raise StoreFormatError(f"{path}: a table of another store", remedy=RESTORE)
    return Table(segments, images)


def _segments(datasets: dict[str, NDArray[Any]], path: Path) -> SegmentList:
    try:
        digests, sizes, rows = (datasets[f"segments/{name}"] for name in ("sha256", "bytes", "rows"))
    except KeyError as error:
        raise StoreFormatError(f"{path}: not readable as a table (no {error})", remedy=RESTORE) from error
    fit = digests.ndim == 1 and digests.dtype == "S64" and digests.shape == sizes.shape == rows.shape
    if not fit or not sizes.dtype == rows.dtype == np.int64 or min(sizes.min(initial=1), rows.min(initial=1)) < 1:
        raise StoreFormatError(f"{path}: columns of segments that don't fit together", remedy=RESTORE)
    letters = digests.view(np.uint8)
    if not ((letters - ord("0") < 10) | (letters - ord("a") < 6)).all():
        raise StoreFormatError(f"{path}: a segment without a digest", remedy=RESTORE)
    return SegmentList(digests, sizes, rows)


def is_digest(text: object) -> bool:
    """Tell whether something is a SHA-256 in lower-case hexadecimal digits."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
