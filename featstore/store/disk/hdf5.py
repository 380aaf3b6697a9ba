"""Laying out an HDF5 file without a file: HDF5 writes its structure into memory, the place of the embeddings empty.

So HDF5 never has a file of the store open for writing, takes no lock and meets no full disk, and a file of any size is
laid out in a few times the memory of its small datasets.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t
from numpy.typing import NDArray

from featstore.store.disk.container import PAGE

__all__ = ["Hole", "Layout", "hole_offset", "lay_out"]


@dataclass(frozen=True)
class Hole:
    """A dataset whose place is kept free: name, (rows, columns), type."""

    name: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """An HDF5 file in memory, but for its hole.

    Attributes
    ----------
    offsets : dict of str to int
        Where each dataset's bytes begin in the file; 0 for an empty one.
    before, after : bytearray
        The file up to the hole (the user block, all zeros, first), and from the end of the hole.
    hole : tuple of int
        Its first byte, and the first one behind it.
    """

    offsets: dict[str, int]
    before: bytearray
    after: bytearray
    hole: tuple[int, int]

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self.hole[1] + len(self.after)


def lay_out(
    datasets: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any], hole: Hole | None, user_block: int
) -> Layout:
    """Lay out contiguous datasets, the attributes of the file, and a hole.

    HDF5 calls back into Python for each piece that it writes. That never happens on the main thread: an interrupt would
    be raised there in the middle of a callback, and get lost in HDF5.
    """
    if threading.current_thread() is not threading.main_thread():
        return _lay_out(datasets, attributes, hole, user_block)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_lay_out, datasets, attributes, hole, user_block).result()


@cache
def hole_offset(user_block: int) -> int:
    """Tell where a hole of a page or more begins, whatever else will be in the file."""
    probe = Hole("probe", (PAGE, 1), np.dtype("<f4"))
    return lay_out({}, {}, probe, user_block).offsets[probe.name]


def _lay_out(
    datasets: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any], hole: Hole | None, user_block: int
) -> Layout:
    pieces = _Pieces()
    align = PAGE if hole and hole.nbytes >= PAGE else 8
    aligned = {"alignment_threshold": align, "alignment_interval": align}
    with h5py.File(pieces, "w", libver=("v110", "v110"), userblock_size=user_block, **aligned) as file:
        offsets = {}
        if hole:  # first: so it is known where a large one begins, before all else is known
            offsets[hole.name] = _create(file, hole.name, hole.shape, hole.dtype, None)
        file.attrs.update(attributes)
        for name, values in datasets.items():
            offsets[name] = _create(file, name, values.shape, values.dtype, values)
    start = offsets[hole.name] if hole and hole.nbytes else pieces.end
    stop = start + (hole.nbytes if hole else 0)
    return Layout(offsets, pieces.between(0, start), pieces.between(stop, pieces.end), (start, stop))


def _create(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], values: NDArray[Any] | None
) -> int:
    """Create a contiguous dataset, without values a hole, and tell its offset, 0 where it is empty.

    In HDF5's own words: h5py's take five times as long.
    """
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.CONTIGUOUS)
    properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5s.create_simple(shape)
    dataset = h5d.create(file.id, name.encode(), h5t.py_create(dtype, logical=True), space, properties, lcpl=links)
    if values is not None and values.size:
        dataset.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(values))
    return dataset.get_offset() if values is None or values.size else 0


class _Pieces(io.RawIOBase):
    """Keeps what is written, each piece at its place."""

    def __init__(self) -> None:
        self.end = 0
        self._pieces: list[tuple[int, bytes]] = []
        self._at = 0

    def between(self, start: int, stop: int) -> bytearray:
        """Return the bytes of a range, as they were written last; where nothing was, zeros."""
        content = bytearray(stop - start)
        for at, piece in self._pieces:
            first, last = max(at, start), min(at + len(piece), stop)
            if first < last:
                content[first - start : last - start] = piece[first - at : last - at]
        return content

    def write(self, piece: Any) -> int:
        self._pieces.append((self._at, bytes(piece)))
        self._at += len(piece)
        self.end = max(self.end, self._at)
        return len(piece)

    def readinto(self, into: Any) -> int:
        """Read what is there; HDF5 looks for its own signature before it writes."""
        content = self.between(self._at, min(self.end, self._at + len(into)))
        into[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self.end = self._at if size is None else size
        return self.end

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True
