"""Writing packed stores: one version of a store, or a part of it, as one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featstore.errors import DataError, SettingError, StoreWriteError
from featstore.recipe import canonical_json
from featstore.store.disk.columns import ImageTable, encoded
from featstore.store.disk.files import check_target
from featstore.store.disk.segments import SegmentRows
from featstore.store.disk.writing import write_container
from featstore.store.images import SPLITS
from featstore.store.reader import Store
from featstore.store.upkeep.rewrite import Stored

__all__ = ["pack"]


def pack(store: Store, target: str | Path, *, repeats: int | None = None, split: str = "all") -> int:
    """Write the version of a store that was opened as one HDF5 file, which `open_store` opens.

    Embeddings pass through memory a few at a time. Until the file is whole it stands beside the target as ``.tmp-``
    and 16 digits. A pack that is killed leaves that file: delete it by hand.

    Parameters
    ----------
    store : Store
    target : str or Path
        The file, ``NAME.h5`` by custom; one that is there is replaced.
    repeats : int, optional
        Augmented repeats up to this number; all by default.
    split : {"all", "train", "test"}
        Only images of this split.

    Returns
    -------
    int
        Number of embeddings in it, those of images that are left out among them.

    Raises
    ------
    SettingError
        If there is no such split, or ``repeats`` is below 0.
    DataError
        If there would be no embeddings in it.
    StoreFormatError
        If a row of the store can't be read.
    StoreWriteError
        If it can't be written; what was there stays as it was.
    """
    path, state = Path(target), store.state
    if split not in {*SPLITS, "all"} or (repeats is not None and repeats < 0):
        raise SettingError(f"split {split!r}, {repeats} repeats", expected="train, test or all, and 0 or more")
    _check_place(path, store)
    kept = [row for row in state.images.values() if split in {"all", row.split}]
    stored = Stored.of(state.read_segments(), ImageTable.from_rows(kept), state.dim, state.dtype)
    rows = _rows(stored, repeats)
    if not len(rows.image):
        raise DataError(f"{store.path}: no embeddings to pack", expected="some, in the split asked for")
    recipe = canonical_json(dict(state.recipe))
    log = {**state.log, "version": state.number, "packed": {"repeats": repeats, "split": split}}
    write_container(
        path.parent,
        "store",
        {"fingerprint": state.fingerprint, "recipe": dict(state.recipe), "log": log},
        {**rows.key_datasets(), **stored.images.to_datasets(), "recipe": encoded([recipe])},
        rows.embeddings,
        path=path,
    )
    return len(rows.image)


def _check_place(path: Path, store: Store) -> None:
    check_target(path)
    if store.owns(path):
        raise StoreWriteError(f"{path}: is in the store itself", remedy="Name another place with --out.")
    if path.exists() and not path.is_file():
        raise StoreWriteError(f"{path}: no file", remedy="Name another place with --out.")


def _rows(stored: Stored, repeats: int | None) -> SegmentRows:
    """Lay out rows up to a repeat; other than in a segment, ``image`` counts within the image table."""
    index, places = stored.index, stored.index.places_in(stored.images).astype(np.int32)
    chosen = np.arange(len(index)) if repeats is None else np.flatnonzero(index.repeat <= repeats)
    blobs = stored.blobs.copy()
    blobs[:, 0] = places[blobs[:, 0]]
    image, blob, repeat = (column[chosen] for column in (index.image, index.blob, index.repeat))
    return SegmentRows(stored.embeddings(chosen), places[image], blob, repeat, [], blobs)
