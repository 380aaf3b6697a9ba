"""Writing one HDF5 file an image, as CLAM lays them out, with names that are safe whatever the images are called."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np

from featstore.errors import StoreWriteError
from featstore.store.disk.files import TEMPORARY, check_target, draft, make_folder, write_atomically
from featstore.store.exchange.batches import BOX_COLUMNS, TEXTS
from featstore.store.exchange.hdf5 import create_foreign
from featstore.store.exchange.selection import Selection
from featstore.store.images import ImageRow

__all__ = ["LIST", "file_names", "write_clam"]

LIST = "featstore.json"
_LONGEST = 120


def write_clam(selection: Selection, target: Path) -> None:
    """Write a folder of files with ``features`` (n, dim) and ``coords`` (n, 2), and a list of which image is where.

    Beside them stand ``blob``, ``repeat`` and ``boxes`` of each row. Coordinates are the upper left corners of the
    blobs' boxes, zeros where a box isn't known. A folder that is there must hold an earlier export and nothing else.

    Raises
    ------
    StoreWriteError
        If it can't be written.
    """
    names = file_names(row.image for row in selection.images)
    with _new_folder(target) as folder:
        for row, start, stop in selection.by_image():
            _write_image(selection, row, slice(start, stop), folder / names[row.image])
        listed = {"files": {name: image for image, name in names.items()}}
        content = json.dumps({**json.loads(selection.note()), **listed}, indent=1, ensure_ascii=False)
        write_atomically(folder / LIST, content.encode() + b"\n")


def file_names(images: Iterable[str]) -> dict[str, str]:
    """Name a file for each image: the key with all but letters, digits and ``_.-~`` as percent codes.

    A long key is cut, and keys that differ in capitals alone would be one file on some systems: such names end in a
    digest of the key instead.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for image in images:
        name = quote(image, safe="")
        name = f"%2E{name[1:]}" if name.startswith(".") else name
        if len(name) > _LONGEST or name.casefold() in taken:
            name = f"{name[:_LONGEST]}~{hashlib.sha256(image.encode()).hexdigest()[:16]}"
        taken.add(name.casefold())
        names[image] = f"{name}.h5"
    return names


def _write_image(selection: Selection, row: ImageRow, rows: slice, path: Path) -> None:
    none = np.zeros((rows.stop - rows.start, len(BOX_COLUMNS)), dtype=np.int32)
    boxes = none if selection.boxes is None else selection.boxes[rows]
    facts = {name: getattr(row, name) for name in ("image", *TEXTS)}
    with draft(path) as file:
        with create_foreign(file.path) as hdf5:
            features = hdf5.create_dataset("features", shape=(len(boxes), selection.store.dim), dtype=np.float32)
            for piece, embeddings in selection.pieces(rows.start, rows.stop):
                features[piece.start - rows.start : piece.stop - rows.start] = embeddings
            hdf5.create_dataset("coords", data=boxes[:, 1:3])
            hdf5.create_dataset("boxes", data=boxes).attrs["columns"] = ",".join(selection.box_columns)
            hdf5.create_dataset("blob", data=selection.blob[rows])
            hdf5.create_dataset("repeat", data=selection.repeat[rows])
            hdf5.create_dataset("featstore", data=np.bytes_(selection.note(**facts).encode()))
            hdf5.attrs.update(facts)
        file.keep_as(path)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Make a folder under a temporary name, which becomes the target at the end; else it is removed."""
    target = target.resolve()
    _require_replaceable(target)
    check_target(target.with_name(f"{target.name} "))  # its own folder must be there
    folder = _temporary(target)
    try:
        make_folder(folder)
        yield folder
        _put_in_place(folder, target)
    except StoreWriteError as error:
        found = error.found.replace(str(folder), str(target))
        raise StoreWriteError(found, expected=error.expected, remedy=error.remedy) from error
    except OSError as error:
        raise StoreWriteError(f"{target}: {error.strerror or error}", remedy="Name another folder.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, target: Path) -> None:
    """Give the folder its name; a kill between two renames leaves what was there under a temporary name."""
    if not target.exists():
        folder.rename(target)
        return
    old = _temporary(target)
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _temporary(target: Path) -> Path:
    return target.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")


def _require_replaceable(target: Path) -> None:
    """Refuse to replace a folder of anything but an earlier export."""
    if target.exists() and not target.is_dir():
        raise StoreWriteError(f"{target}: a file", expected="the name of a folder")
    there = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if not there:
        return
    try:
        ours = {LIST, *json.loads((target / LIST).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    others = sorted(there - ours)
    if others:
        raise StoreWriteError(f"{target}: holds {others[0]!r}, which no export wrote", remedy="Name another folder.")
