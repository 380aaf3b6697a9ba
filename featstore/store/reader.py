"""Reading a store: one version of it, whole, whatever is being written meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import SettingError, StoreNotFoundError
from featstore.store.bags import Bags
from featstore.store.disk.segments import BLOB_COLUMNS, is_scaled
from featstore.store.disk.versions import Version, read_version, version_numbers
from featstore.store.images import SPLITS, ImageRow, twin_groups
from featstore.store.index import KeyIndex, blob_table
from featstore.store.keys import named_table
from featstore.store.packed import PackedVersion, read_packed
from featstore.store.runs import run_starts
from featstore.store.scales import counts_of_scales, scales_of_rows
from featstore.store.subsets import as_labelled, chosen_rows, first_blobs, is_whole, positions, repeats_up_to

__all__ = ["Store", "open_store"]


def open_store(path: str | Path, version: int | None = None) -> Store:
    """Open a store for reading.

    Parameters
    ----------
    path : str or Path
        The store's folder, or a packed store.
    version : int, optional
        The newest by default; a packed store has one.

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
    if version is not None and not is_whole(version):
        raise SettingError(f"version is {version!r}", expected="a whole number")
    if "\0" in str(path):
        raise StoreNotFoundError(f"{path!r}: no path", remedy="Name an existing store.")
    place = Path(path).absolute()  # what is read later is found, wherever the process goes
    return Store(read_packed(place, version) if place.is_file() else read_version(place, version), Path(path))


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
    state : Version
        What all of it is read from.
    """

    def __init__(self, state: Version | PackedVersion, path: Path) -> None:
        self.path = path
        self.state = state
        self.version = state.number
        self.fingerprint = state.fingerprint
        self.recipe = dict(state.recipe)
        self.dim = state.dim
        self.dtype = state.dtype

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, version={self.version}, {len(self)} embeddings, dim={self.dim})"

    @property
    def images(self) -> Mapping[str, ImageRow]:
        """Every image that the data held, by key, those left out (with their reason) among them."""
        return self.state.images

    @cached_property
    def _read(self) -> tuple[KeyIndex, NDArray[np.int32] | None]:
        """The index, and the blobs if they have crops of several scales: those that count, not those of old rows."""
        segments, images = self.state.read_segments(), self.state.images
        scaled = any(is_scaled(segment.blobs) for segment in segments)
        table = blob_table(segments, images)[1] if scaled else None
        return KeyIndex.build(segments, images), table if table is not None and is_scaled(table) else None

    @property
    def _index(self) -> KeyIndex:
        return self._read[0]

    @property
    def keys(self) -> NDArray[np.void]:
        """Keys of all embeddings, a structured array of image (str), blob and repeat (int), in key order."""
        index = self._index
        return named_table(index.names, index.image, blob=index.blob, repeat=index.repeat)

    @property
    def blobs(self) -> NDArray[np.void]:
        """Blobs whose box is known, in key order: a structured array of image (str), `BLOB_COLUMNS` without the image.

        The box is half-open, in pixels of the image. ``scale`` is 1 for a blob's own crop, 2 and more for one of its
        surroundings, 0 for a tile of it; ``parent`` is the number of that blob.
        """
        names, table = blob_table(self.state.read_segments(), self.state.images)
        columns = {name: table[:, number] for number, name in enumerate(BLOB_COLUMNS)}
        return named_table(names, columns.pop("image"), **columns)

    def embeddings(
        self,
        repeats: Iterable[int] | None = None,
        images: Iterable[str] | None = None,
        blobs: Iterable[int] | None = None,
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
        SettingError
            If what is given is no list of names, or of whole numbers.
        """
        rows = chosen_rows(self._index, self.path, repeats, images, blobs)
        embeddings: NDArray[np.float32] = self._index.gather(rows, self.dim)
        return embeddings

    def take(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Read the embeddings at positions of `keys`, in the order asked for.

        Parameters
        ----------
        indices : array-like of shape (n,), int
            Negative ones count from the end.

        Returns
        -------
        ndarray of shape (n, dim), float32

        Raises
        ------
        SettingError
            If one is out of range, or they are not whole numbers.
        """
        embeddings: NDArray[np.float32] = self._index.gather(positions(self._index, indices), self.dim)
        return embeddings

    def bags(
        self,
        split: str = "train",
        repeats: int | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        groups: Mapping[str, str] | None = None,
        labelled: bool | None = None,
        max_blobs: int | None = None,
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
        max_blobs : int, optional
            So many of each image's blobs, those with the lowest numbers: the largest of an extraction, each with its
            crops at other scales. All by default.

        Returns
        -------
        Bags
            Images that were left out with a reason are not among them.

        Raises
        ------
        SettingError
            If ``split`` is unknown, ``repeats`` is no number of repeats that are stored, or ``max_blobs`` is below 1.
        """
        only_labelled = split == "train" if labelled is None else labelled
        usable = as_labelled(self.usable(split), labels, groups, only_labelled=only_labelled)
        index, blobs = self._read
        rows = chosen_rows(index, self.path, repeats_up_to(repeats, self.repeats, self.path), usable, None)
        scale, parent = (None, None) if blobs is None else scales_of_rows(index, blobs, rows)
        if max_blobs is not None:
            kept = first_blobs(index, rows, max_blobs, parent)
            rows = rows[kept]
            scale, parent = (None if column is None else column[kept] for column in (scale, parent))
        start = run_starts(index.image[rows])
        return Bags.from_sorted(
            index.gather(rows, self.dim, self.dtype),
            index.blob[rows],
            index.repeat[rows],
            [index.names[image] for image in index.image[rows[start]].tolist()],
            start,
            labels={name: row.label for name, row in usable.items()},
            groups=twin_groups(usable.values()),
            provenance={"fingerprint": self.fingerprint, "version": self.version},
            scale=scale,
            parent=parent,
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
        index, images = self._index, self.state.images
        usable = index.places_in(images)
        return {
            "store": str(self.path),
            "version": self.version,
            "fingerprint": self.fingerprint,
            "embeddings": len(index),
            "dim": self.dim,
            "dtype": self.dtype,
            "images": len(usable),
            "left_out": int(images.left_out.sum()),
            **counts_of_scales(*self._read),
            "repeats": self.repeats,
            "splits": images.counts("split", usable),
            "classes": images.counts("label", usable),
            "recipe": self.recipe,
        }

    def log(self) -> Iterator[dict[str, Any]]:
        """Tell each version's number, time, operation and additions, newest first."""
        earlier = [number for number in version_numbers(self.state.store) if number < self.version]
        yield dict(self.state.log)
        for number in reversed(earlier):
            yield dict(read_version(self.state.store, number).log)

    def owns(self, path: Path) -> bool:
        """Tell whether a path is the store itself, or within it: nothing else is written there."""
        return path.resolve().is_relative_to(self.path.resolve())
