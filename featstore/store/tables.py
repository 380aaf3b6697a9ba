"""Tables: what versions say of segments and images, in columns.

A version lists a few tables, which add up: a commit adds a small one, and takes smaller ones before it into itself, so
that there are never more than a logarithm of them, and each row is written anew a logarithm of times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import StoreFormatError
from featstore.store.columns import ImageTable, decoded, encoded
from featstore.store.container import FileEntry, read_container, write_container
from featstore.store.files import RESTORE
from featstore.store.segments import SegmentEntry

__all__ = ["Table", "TableEntry", "add_up", "read_table", "settle", "write_table"]

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


@dataclass(frozen=True)
class Table:
    """Segments in the order in which they were committed, and rows of images."""

    segments: tuple[SegmentEntry, ...]
    images: ImageTable

    @property
    def size(self) -> int:
        """Rows of both kinds."""
        return len(self.segments) + len(self.images)


def add_up(tables: Iterable[Table]) -> Table:
    """Add tables up, the earlier first; a segment that is listed twice counts once."""
    parts = list(tables)
    segments = dict.fromkeys(entry for part in parts for entry in part.segments)
    return Table(tuple(segments), ImageTable.merged([part.images for part in parts]))


def settle(store: Path, fingerprint: str, before: Sequence[TableEntry], new: Table) -> tuple[TableEntry, ...]:
    """Add a table to those of a version, and take in those before it that are not much larger."""
    kept = list(before)
    while kept and kept[-1].size <= 2 * new.size:
        new = add_up([read_table(store, kept.pop(), fingerprint), new])
    return (*kept, write_table(store, new, fingerprint)) if new.size else tuple(kept)


def write_table(store: Path, table: Table, fingerprint: str) -> TableEntry:
    """Write a table and return its entry.

    Raises
    ------
    StoreWriteError
        If it can't be written.
    """
    datasets: dict[str, NDArray[Any]] = {
        "segments/sha256": encoded([entry.sha256 for entry in table.segments]),
        "segments/bytes": np.array([entry.bytes for entry in table.segments], dtype="<i8"),
        "segments/rows": np.array([entry.rows for entry in table.segments], dtype="<i8"),
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


def _segments(datasets: dict[str, NDArray[Any]], path: Path) -> tuple[SegmentEntry, ...]:
    try:
        digests = decoded(datasets["segments/sha256"])
        sizes, rows = (datasets[f"segments/{name}"] for name in ("bytes", "rows"))
        if sizes.dtype != np.int64 or rows.dtype != np.int64 or not sizes.shape == rows.shape == (len(digests),):
            raise ValueError("columns of segments that don't fit together")
        if not all(map(is_digest, digests)) or min([*sizes.tolist(), *rows.tolist()], default=1) < 1:
            raise ValueError("a segment without rows, or without a digest")
    except (KeyError, ValueError) as error:
        raise StoreFormatError(f"{path}: not readable as a table ({error})", remedy=RESTORE) from error
    return tuple(map(SegmentEntry, digests, sizes.tolist(), rows.tolist()))


def is_digest(text: object) -> bool:
    """Tell whether something is a SHA-256 in lower-case hexadecimal digits."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
