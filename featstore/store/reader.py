"""Reading a store: one version of it, whole, whatever is being written meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, SettingError, StoreFormatError
from featstore.store.bags import Bags
from featstore.store.images import SPLITS, ImageRow, twin_groups
from featstore.store.index import KeyIndex
from featstore.store.versions import Version, read_header, read_version, version_numbers

__all__ = ["Store", "open_store"]


def open_store(path: str | Path, version: int | None = None) -> Store:
    """Open a store for reading.

    Parameters
    ----------
    path : str or Path
        The store's folder.
    version : int, optional
        The newest by default.

    Returns
    -------
    Store

    Raises
    ------
    StoreNotFoundError
        If there is no store, or no such version.
    StoreFormatError
        If it is not what the format says.
    """
    folder = Path(path)
    if folder.is_file():
        raise StoreFormatError(f"{folder}: a file", expected="the folder of a store")
    return Store(folder, read_version(folder, version))


class Store:
    """One version of a store.

    Attributes
    ----------
    path : Path
    version : int
    fingerprint : str
        SHA-256 of the recipe.
    recipe : dict
    dim : int
        Length of an embedding.
    dtype : str
        How embeddings are stored; they are read as float32.
    images : mapping from str to ImageRow
        Every image that the data held, those left out (with their reason) among them.
    """

    def __init__(self, path: Path, state: Version) -> None:
        self.path = path
        self._state = state
        self.version = state.number
        self.fingerprint = state.fingerprint
        self.recipe = dict(state.recipe)
        self.dim = state.dim
        self.dtype = state.dtype
        self.images: Mapping[str, ImageRow] = state.images

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, version={self.version}, {len(self)} embeddings, dim={self.dim})"

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex.build(self.path, self._state)

    @property
    def keys(self) -> NDArray[np.void]:
        """Keys of all embeddings, a structured array of image (str), blob and repeat (int), in key order."""
        index = self._index
        names = np.array(index.names, dtype=np.str_)
        kind = [("image", names.dtype if len(names) else np.dtype("U1")), ("blob", np.int32), ("repeat", np.int32)]
        keys = np.zeros(len(index), dtype=kind)
        if len(names):
            keys["image"] = names[index.image]
        keys["blob"], keys["repeat"] = index.blob, index.repeat
        return keys

    def embeddings(
        self,
        repeats: Sequence[int] | None = None,
        images: Sequence[str] | None = None,
        blobs: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """Read embeddings in key order.

        Parameters
        ----------
        repeats, images, blobs : sequence, optional
            Only these; all by default.

        Returns
        -------
        ndarray of shape (n, dim), float32

        Raises
        ------
        DataError
            If an image is not in the store.
        """
        rows = self._select(repeats, images, blobs)
        embeddings: NDArray[np.float32] = self._index.gather(rows, self.dim)
        return embeddings

    def bags(
        self,
        split: str = "train",
        repeats: int | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        groups: Mapping[str, str] | None = None,
        labelled: bool | None = None,
    ) -> Bags:
        """Collect one bag of blob embeddings an image.

        Parameters
        ----------
        split : {"train", "test", "all"}
        repeats : int, optional
            Augmented repeats up to this number, 0 for the clean crops alone; all that are stored by default.
        labels, groups : mapping from image to str, optional
            Instead of those in the store, whose twins stay together all the same.
        labelled : bool, optional
            Only images that have a label; by default for the training split.

        Returns
        -------
        Bags
            Images that were left out with a reason are not among them.

        Raises
        ------
        SettingError
            If ``split`` is unknown, or more repeats are asked for than are stored.
        """
        usable = self.usable(split)
        if labels is not None:
            usable = {name: replace(row, label=labels.get(name, "")) for name, row in usable.items()}
        if groups is not None:
            usable = {name: replace(row, group=groups.get(name, "")) for name, row in usable.items()}
        if labelled or (labelled is None and split == "train"):
            usable = {name: row for name, row in usable.items() if row.label}
        stored = self.repeats
        if repeats is not None and repeats < 0:
            raise SettingError(f"{repeats} repeats", expected="0 or more")
        if repeats is not None and repeats > max(stored, default=0):
            raise SettingError(
                f"{repeats} repeats asked for, {max(stored, default=0)} stored in {self.path}",
                remedy=f"Add them with: featstore extract --repeats {repeats}",
            )
        wanted = stored if repeats is None else [r for r in stored if r <= repeats]
        rows = self._select(wanted, list(usable), None)
        index = self._index
        names = np.array([*index.names, ""], dtype=np.str_)[index.image[rows]]
        return Bags.from_rows(
            index.gather(rows, self.dim, self.dtype),
            names,
            index.blob[rows],
            index.repeat[rows],
            labels={name: row.label for name, row in usable.items()},
            groups=twin_groups(usable.values()),
            provenance={"fingerprint": self.fingerprint, "version": self.version},
        )

    def usable(self, split: str = "all") -> dict[str, ImageRow]:
        """Images of a split that have embeddings and no reason to be left out."""
        if split not in {*SPLITS, "all"}:
            raise SettingError(f"split is {split!r}", expected="train, test or all")
        there = set(self._index.names)
        return {name: row for name, row in self.images.items() if name in there and split in {"all", row.split}}

    @property
    def repeats(self) -> list[int]:
        """The repeats stored, 0 being the clean crop."""
        return [int(value) for value in np.unique(self._index.repeat)]

    def info(self) -> dict[str, Any]:
        """Summarise the version: what ``featstore store info`` shows."""
        index = self._index
        usable = self.usable().values()
        pairs = np.unique(np.stack([index.image, index.blob]), axis=1).shape[1] if len(index) else 0
        return {
            "store": str(self.path),
            "version": self.version,
            "fingerprint": self.fingerprint,
            "embeddings": len(index),
            "dim": self.dim,
            "dtype": self.dtype,
            "images": len(usable),
            "left_out": sum(1 for row in self.images.values() if row.left_out),
            "blobs": pairs,
            "repeats": self.repeats,
            "splits": dict(sorted(Counter(row.split for row in usable).items())),
            "classes": dict(sorted(Counter(row.label for row in usable if row.label).items())),
            "recipe": self.recipe,
        }

    def log(self) -> Iterator[dict[str, Any]]:
        """Tell each version's number, time, operation and additions, newest first."""
        for number in reversed([n for n in version_numbers(self.path) if n <= self.version]):
            body = read_header(self.path, number)
            yield {name: body.get(name) for name in ("version", "created", "operation", "added", "how")}

    def _select(
        self, repeats: Sequence[int] | None, images: Sequence[str] | None, blobs: Sequence[int] | None
    ) -> NDArray[np.intp]:
        index = self._index
        if isinstance(images, str):
            raise SettingError(f"images is {images!r}", expected=f"a list of names, such as [{images!r}]")
        keep = np.ones(len(index), dtype=np.bool_)
        if repeats is not None:
            keep &= np.isin(index.repeat, repeats)
        if blobs is not None:
            keep &= np.isin(index.blob, blobs)
        if images is not None:
            place = {name: position for position, name in enumerate(index.names)}
            missing = sorted(set(images) - place.keys())
            if missing:
                raise DataError(
                    f"{self.path}: no embeddings of {missing[0]!r}"
                    + (f" and {len(missing) - 1} others" * (len(missing) > 1)),
                    expected=f"images as in store.keys, such as {index.names[0]!r}"
                    if index.names
                    else "images that are stored",
                )
            keep &= np.isin(index.image, [place[name] for name in images])
        return np.flatnonzero(keep)
