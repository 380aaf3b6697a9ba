"""Laying out an HDF5 file without a file: HDF5 writes its structure into memory, the place of the embeddings empty.

So HDF5 never has a file of the store open for writing, takes no lock, can't fail half-way on a full disk, and a file of
any size is laid out in the memory of its small datasets.
"""

from __future__ import annotations

import io
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

    HDF5 calls back into Python for each piece that it writes. That happens on a thread of its own: an interrupt would
    otherwise be raised in the middle of a callback, and get lost in HDF5.
    """
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
        if hole:
            _create_hole(file, hole)  # first: so it is known where a large one begins, before all else is known
        file.attrs.update(attributes)
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
        offsets = {name: file[name].id.get_offset() or 0 for name in [*datasets, *([hole.name] if hole else [])]}
    start = offsets[hole.name] if hole and hole.nbytes else pieces.end
    stop = start + (hole.nbytes if hole else 0)
    return Layout(offsets, pieces.between(0, start), pieces.between(stop, pieces.end), (start, stop))


def _create_hole(file: h5py.File, hole: Hole) -> None:
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.CONTIGUOUS)
    properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    space = h5s.create_simple(hole.shape)
    h5d.create(file.id, hole.name.encode(), h5t.py_create(hole.dtype), space, dcpl=properties)


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
