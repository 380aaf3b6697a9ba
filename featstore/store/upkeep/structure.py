"""What other tools see in a file of the store: HDF5's own view of it, held against the directory's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from featstore.store.disk.container import EMBEDDINGS, Container
from featstore.store.disk.opening import open_regular

__all__ = ["structure_problems"]


def structure_problems(container: Container) -> Iterator[str]:
    """Let HDF5 parse a container whose checksum was right, and tell where it sees something else than the directory.

    Links that lead out of the file, virtual datasets, external storage and objects are named, never followed.

    Yields
    ------
    str
    """
    with open_regular(container.path) as (descriptor, _):
        try:
            # Through Python's own file HDF5 takes no lock, and does not mind if others have the file open with locks.
            with os.fdopen(os.dup(descriptor), "rb") as stream, h5py.File(stream, "r") as file:
                yield from _problems(file, container)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            yield f"HDF5 can't read it ({error})"


def _problems(file: h5py.File, container: Container) -> Iterator[str]:
    expected = set(container.datasets) | ({EMBEDDINGS} if container.embeddings else set())
    groups = {name.rpartition("/")[0] for name in expected if "/" in name}
    groups |= {group.rpartition("/")[0] for group in groups if "/" in group}
    found = dict(_members(file, groups))
    for name in sorted(found.keys() ^ expected):
        yield f"{name!r} is {'not in the directory' if name in found else 'not in the HDF5 file'}"
    for name in sorted(found.keys() & expected):
        strange = _strange(found[name]) or _different(found[name], name, container)
        if strange:
            yield f"dataset {name!r} {strange}"


def _members(file: h5py.File, groups: set[str]) -> Iterator[tuple[str, Any]]:
    """List what is in the file and in the groups that belong there; only hard links are followed."""
    for group in ["", *sorted(groups)]:
        for name in file[group] if group else file:
            path = f"{group}/{name}" if group else name
            hard = isinstance(file.get(path, getlink=True), h5py.HardLink)
            item = file[path] if hard else None
            if not (path in groups and isinstance(item, h5py.Group)):
                yield path, item


def _strange(item: Any) -> str:
    """Say what makes it other than numbers or bytes that stand in one piece in this file, or nothing."""
    if not isinstance(item, h5py.Dataset):
        return "is a link, or no dataset"
    if item.is_virtual or item.external:
        return "lies in another file"
    if item.dtype.kind not in "fiuS":
        return f"is of type {item.dtype}"
    if item.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS:
        return "is not contiguous"
    return ""


def _different(item: h5py.Dataset, name: str, container: Container) -> str:
    source = container.embeddings
    if name == EMBEDDINGS and source:
        same = (item.shape, item.dtype, item.id.get_offset()) == (source.shape, source.dtype, source.offset)
    else:
        listed = container.datasets[name]
        same = item.dtype == listed.dtype and bool(np.array_equal(item[...], listed))
    return "" if same else "is not what the directory says"
