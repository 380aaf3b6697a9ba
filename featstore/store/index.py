"""The index of a version: which row of which segment holds each (image, blob, repeat)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.store.segments import Segment, read_segment
from featstore.store.versions import Version

__all__ = ["KeyIndex"]


@dataclass(frozen=True)
class KeyIndex:
    """Columns over all rows of a version, in key order: by image name, blob, repeat.

    A row counts while its image still has the content that the row was computed from. Where two writers computed the
    same key, the one committed first counts.

    Attributes
    ----------
    names : list of str
        Images with rows, sorted.
    image, blob, repeat : ndarray of shape (n,), int32
        ``image`` counts within ``names``.
    segment, row : ndarray of shape (n,), int32
        Where the embedding stands.
    """

    segments: Sequence[Segment]
    names: list[str]
    image: NDArray[np.int32]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]
    segment: NDArray[np.int32]
    row: NDArray[np.int32]

    @classmethod
    def build(cls, folder: Path, version: Version, *, everything: bool = False) -> KeyIndex:
        """Read the keys of all segments of a version.

        Parameters
        ----------
        folder : Path
        version : Version
        everything : bool
            Also rows of images that are left out: they are there, though they don't count.

        Raises
        ------
        StoreFormatError
            If a segment can't be read.
        """
        segments = [
            read_segment(folder / "segments", entry, fingerprint=version.fingerprint, dim=version.dim)
            for entry in version.segments
        ]
        wanted = {name: row.identity for name, row in version.images.items() if everything or not row.left_out}
        live = [_live_images(segment, wanted) for segment in segments]
        names = sorted({name for numbered in live for name in numbered.values()})
        place = {name: position for position, name in enumerate(names)}
        parts = [_live_rows(s, segment, live[s], place) for s, segment in enumerate(segments)]
        columns = np.concatenate(parts, axis=1) if parts else np.zeros((5, 0), dtype=np.int32)
        image, blob, repeat, where, row = _in_key_order(columns)
        return cls(segments, names, image, blob, repeat, where, row)

    def __len__(self) -> int:
        return len(self.row)

    def rows_of(self, name: str) -> slice:
        """Rows of one image."""
        position = bisect_left(self.names, name)
        if position == len(self.names) or self.names[position] != name:
            return slice(0, 0)
        first, last = np.searchsorted(self.image, np.array([position, position + 1], dtype=np.int32))
        return slice(int(first), int(last))

    def keys_of(self, name: str) -> set[tuple[int, int]]:
        """Tell the (blob, repeat) pairs stored for an image."""
        rows = self.rows_of(name)
        return set(zip(self.blob[rows].tolist(), self.repeat[rows].tolist(), strict=True))

    def gather(self, rows: NDArray[np.intp], dim: int, dtype: Any = np.float32) -> NDArray[np.floating[Any]]:
        """Read the embeddings of the given rows, (n, dim)."""
        out = np.empty((len(rows), dim), dtype=dtype)
        where, row = self.segment[rows], self.row[rows]
        for number in np.unique(where):
            chosen = where == number
            out[chosen] = self.segments[number].mapped()[row[chosen]]
        return out


def _live_images(segment: Segment, wanted: Mapping[str, tuple[str, str]]) -> dict[int, str]:
    pairs = enumerate(zip(segment.names, segment.identities, strict=True))
    return {number: name for number, (name, identity) in pairs if wanted.get(name) == identity}


def _live_rows(number: int, segment: Segment, live: dict[int, str], place: dict[str, int]) -> NDArray[np.int32]:
    lookup = np.full(max(1, len(segment.names)), -1, dtype=np.int32)
    for position, name in live.items():
        lookup[position] = place[name]
    image = lookup[segment.image]
    kept = np.flatnonzero(image >= 0).astype(np.int32)
    where = np.full(len(kept), number, dtype=np.int32)
    return np.stack([image[kept], segment.blob[kept], segment.repeat[kept], where, kept])


def _in_key_order(columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sort by key, the earlier segment first, and keep the first row of each key."""
    if columns.shape[1] == 0:
        return columns
    image, blob, repeat = columns[:3]
    order = np.lexsort((repeat, blob, image))
    keys = columns[:3, order]
    first = np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0))
    return np.ascontiguousarray(columns[:, order[first]])
