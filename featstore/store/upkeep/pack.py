"""Writing packed stores: one version of a store, or a part of it, as one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from featstore.errors import DataError, SettingError, StoreWriteError
from featstore.recipe import canonical_json
from featstore.store.disk.columns import ImageTable, encoded
from featstore.store.disk.files import check_target
from featstore.store.disk.writing import write_container
from featstore.store.images import SPLITS
from featstore.store.reader import Store
from featstore.store.upkeep.rewrite import Stored

__all__ = ["pack"]


def pack(store: Store, target: str | Path, *, repeats: int | None = None, split: str = "all") -> int:
    """Write the version of a store that was opened as one HDF5 file, which `open_store` opens.

    Embeddings pass through memory a few at a time.

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
    DataError
        If there would be none.
    StoreWriteError
        If it can't be written.
    """
    path, state = Path(target), store.state
    if split not in {*SPLITS, "all"} or (repeats is not None and repeats < 0):
        raise SettingError(f"split {split!r}, {repeats} repeats", expected="train, test or all, and 0 or more")
    check_target(path)
    inside = path.resolve().is_relative_to(store.path.resolve())
    if inside or (path.exists() and not path.is_file()):
        raise StoreWriteError(f"{path}: within the store itself, or no file", remedy="Name another place with --out.")
    kept = [row for row in state.images.values() if split in {"all", row.split}]
    stored = Stored.of(state.read_segments(), ImageTable.from_rows(kept), state.dim, state.dtype)
    index, places = stored.index, stored.places()
    chosen = np.arange(len(index)) if repeats is None else np.flatnonzero(index.repeat <= repeats)
    if not len(chosen):
        raise DataError(f"{store.path}: no embeddings to pack", expected="some, in the split asked for")
    blobs = stored.blobs.copy()
    blobs[:, 0] = places[blobs[:, 0]]
    rows = replace(stored.segment(chosen), image=places[index.image[chosen]], blobs=blobs)
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
    return len(chosen)
