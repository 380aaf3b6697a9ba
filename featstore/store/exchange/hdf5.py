"""Foreign HDF5: opened without locks, never followed out of the file, and believed only as far as its bytes go."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5l
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.store.exchange.foreign import BUDGET, numbers_in, reading

__all__ = ["Rows", "child", "create_foreign", "open_foreign", "require_stored", "rows_of"]

_LARGEST_CHUNK = 2**31


@contextmanager
def open_foreign(path: Path, kind: str = "an HDF5 file") -> Iterator[h5py.File]:
    """Open a file read-only, and turn what goes wrong with it into a `DataError` that names it."""
    with reading(path, kind), h5py.File(path, "r", locking=False) as file:
        yield file


@contextmanager
def create_foreign(path: Path) -> Iterator[h5py.File]:
    """Create a file, without locks; a disk that is full is an `OSError`, also where h5py makes another error of it."""
    try:
        with h5py.File(path, "w", locking=False) as file:
            yield file
    except RuntimeError as error:
        number = re.search(r"errno = (\d+)", str(error))
        if not number:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def child(group: h5py.Group, name: str, path: Path) -> h5py.Dataset | h5py.Group | None:
    """Take a member of a group, or None where there is none.

    Raises
    ------
    DataError
        If it is not in the file itself but a link, or a dataset whose data are in another file.
    """
    found = group
    for part in name.strip("/").split("/"):
        if not isinstance(found, h5py.Group) or not found.id.links.exists(part.encode()):
            return None
        if found.id.links.get_info(part.encode()).type != h5l.TYPE_HARD:
            raise DataError(
                f"{path}: {part!r} is a link to elsewhere, which is not followed", expected="the data itself"
            )
        found = found[part]
    if isinstance(found, h5py.Dataset):
        require_stored(found, path)
    return found


def require_stored(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse a dataset whose data are not all in this file: in another one, never written, or more than it can hold.

    Raises
    ------
    DataError
    """
    name, properties = dataset.name, dataset.id.get_create_plist()
    layout = properties.get_layout()
    if layout == h5d.VIRTUAL or properties.get_external_count():
        raise DataError(
            f"{path}: {name} keeps its data in other files, which are not followed", expected="the data itself"
        )
    shape, stored = dataset.shape, dataset.id.get_storage_size()
    if shape is None:
        raise DataError(f"{path}: {name} holds nothing")
    if layout == h5d.CHUNKED:
        wanted = math.prod(-(-length // chunk) for length, chunk in zip(shape, dataset.chunks, strict=True))
        whole = dataset.id.get_num_chunks() == wanted
        whole &= math.prod(dataset.chunks) * dataset.dtype.itemsize <= _LARGEST_CHUNK
    else:
        whole = layout == h5d.COMPACT or stored >= math.prod(shape) * dataset.dtype.itemsize
    if not whole or stored > path.stat().st_size:
        raise DataError(f"{path}: {name} declares {shape} of {dataset.dtype}, but holds less")


@dataclass(frozen=True)
class Rows:
    """Embeddings in a foreign file: (n, dim), or with a leading dimension of one, or a single one."""

    dataset: h5py.Dataset
    shape: tuple[int, int]

    def chunks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read some rows at a time: the number of the first, and the rows.

        Each piece is whole chunks of the file, which would otherwise be unpacked again for every piece.
        """
        rows, dim = self.shape
        step = max(1, BUDGET // (dim * self.dataset.dtype.itemsize))
        inner = (self.dataset.chunks or (1, 1))[-2:]
        if len(inner) == 2:
            step = max(inner[0], step // inner[0] * inner[0])
        for start in range(0, rows, step):
            piece = slice(start, min(rows, start + step))
            where = {1: (), 2: (piece,), 3: (0, piece)}[self.dataset.ndim]
            yield start, self.dataset[where].reshape(-1, dim)


def rows_of(dataset: h5py.Dataset, path: Path) -> Rows:
    """Look at a dataset as embeddings.

    Raises
    ------
    DataError
        If it holds none.
    """
    shape = dataset.shape
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    elif len(shape) == 1:
        shape = (1, *shape)
    numbers_in(np.dtype(dataset.dtype), shape, dataset.name, path)
    return Rows(dataset, (shape[0], shape[1]))
