"""Bags: one bag of blob embeddings an image, in the shape that scikit-learn expects of X."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError
from featstore.store.instances import Bag, Instances, Located, Repeats, SharedRows, repeat_numbers
from featstore.store.runs import rows_of_runs, run_means, run_starts
from featstore.store.scales import at_scales, in_order, side_by_side

__all__ = ["Bag", "Bags", "Instances"]


@dataclass(frozen=True, eq=False)
class Bags:
    """A sequence of images, each a bag of instances (blobs and their augmented repeats).

    A sample is an image, so no splitter can put blobs of one image on both sides. Subsets share the embeddings
    of the whole. Build one with `Store.bags`, `Bags.from_rows` or `Bags.from_array`.

    Attributes
    ----------
    images : ndarray of shape (n_images,), str
    labels : ndarray of shape (n_images,), str
        Empty where an image has none.
    groups : ndarray of shape (n_images,), str
        Images that must stay on one side of a split: the same patient or slide, or twins by content.
    provenance : mapping
        Recipe fingerprint and version of the store, empty for bags made from arrays.
    """

    _rows: SharedRows
    _start: NDArray[np.intp]
    _stop: NDArray[np.intp]
    images: NDArray[np.str_]
    labels: NDArray[np.str_]
    groups: NDArray[np.str_]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_rows(
        cls,
        embeddings: NDArray[np.floating[Any]],
        image: ArrayLike,
        blob: ArrayLike,
        repeat: ArrayLike,
        *,
        labels: Mapping[str, str] | None = None,
        groups: Mapping[str, str] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Bags:
        """Group rows into bags, ordered by image name, blob and repeat.

        Parameters
        ----------
        embeddings : ndarray of shape (n, dim), float16 or float32
        image : array-like of shape (n,), str
        blob, repeat : array-like of shape (n,), int
        labels, groups : mapping from image to str, optional
            Without a group an image is its own.
        provenance : mapping, optional

        Raises
        ------
        DataError
            If lengths differ, or an image has no clean instance (repeat 0).
        """
        names = np.asarray(image, dtype=np.str_)
        blobs, repeats = np.asarray(blob, dtype=np.int32), np.asarray(repeat, dtype=np.int32)
        if embeddings.ndim != 2 or not len(embeddings) == len(names) == len(blobs) == len(repeats):
            raise DataError(
                f"embeddings of shape {embeddings.shape} with {len(names)} images, {len(blobs)} blobs, "
                f"{len(repeats)} repeats",
                expected="a 2-D array and one image, blob and repeat a row",
            )
        order = np.lexsort((repeats, blobs, names))
        if not np.array_equal(order, np.arange(len(order))):
            embeddings, names, blobs, repeats = embeddings[order], names[order], blobs[order], repeats[order]
        images, start = np.unique(names, return_index=True)
        return cls.from_sorted(
            embeddings, blobs, repeats, images.tolist(), start, labels=labels, groups=groups, provenance=provenance
        )

    @classmethod
    def from_sorted(
        cls,
        embeddings: NDArray[np.floating[Any]],
        blob: NDArray[np.int32],
        repeat: NDArray[np.int32],
        images: Sequence[str],
        start: NDArray[np.intp],
        *,
        labels: Mapping[str, str] | None = None,
        groups: Mapping[str, str] | None = None,
        provenance: Mapping[str, Any] | None = None,
        scale: NDArray[np.int32] | None = None,
        parent: NDArray[np.int32] | None = None,
    ) -> Bags:
        """Take rows that are in key order already; ``start`` is the first row of each image, of shape (n_images,).

        ``scale`` and ``parent`` are those of each row; without them each is its blob's own crop.

        Raises
        ------
        DataError
            If an image has no clean instance (repeat 0).
        """
        names = np.array(images, dtype=np.str_)
        rows = SharedRows(embeddings, blob, repeat, scale, parent)
        rows.require_clean(names, start)
        label_of, group_of = labels or {}, groups or {}
        return cls(
            rows,
            start.astype(np.intp),
            np.append(start[1:], len(blob)).astype(np.intp)[: len(names)],
            names,
            np.array([label_of.get(name, "") for name in images], dtype=np.str_),
            np.array([group_of.get(name, name) for name in images], dtype=np.str_),
            dict(provenance or {}),
        )

    @classmethod
    def from_array(cls, array: ArrayLike) -> Bags:
        """Take each row of a 2-D array as an image with one blob."""
        embeddings = np.asarray(array, dtype=np.float32)
        n = len(embeddings)
        zeros, position = np.zeros(n, dtype=np.int32), np.arange(n)
        names = np.char.zfill(position.astype(np.str_), len(str(n - 1)))  # so that their order is that of the rows
        empty = np.full(n, "", dtype=np.str_)
        return cls(SharedRows(embeddings, zeros, zeros), position, position + 1, names, empty, names)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_images, dim), as scikit-learn expects of X."""
        return len(self), self._rows.embeddings.shape[1]

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.shape[1]

    @property
    def repeats(self) -> list[int]:
        """The repeats present, 0 (clean) among them."""
        return [int(value) for value in np.unique(self._rows.repeat[self._all_rows()[0]])]

    @property
    def scales(self) -> list[int]:
        """The scales present: 1 (blobs), then wider squares around them, then 0 (tiles)."""
        return in_order(self._rows.scale_at(self._all_rows()[0]))

    @property
    def lacking_repeats(self) -> int:
        """Number of images that lack a repeat which another image has."""
        rows, image = self._all_rows()
        pairs = np.unique(np.stack([image, self._rows.repeat[rows]]), axis=1)
        counts = np.bincount(pairs[0], minlength=len(self))
        return int((counts < counts.max(initial=0)).sum())

    def __repr__(self) -> str:
        instances = int((self._stop - self._start).sum())
        return f"Bags({len(self)} images, {instances} instances, dim={self.dim}, repeats={self.repeats})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise TypeError(
            "Bags are not an array: an image has several embeddings. "
            "Put featstore.toolkit.MeanPool() in front of an estimator that takes arrays."
        )

    def __iter__(self) -> Iterator[Bag]:
        return (self._bag(index) for index in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        """Index by an integer (a `Bag`), or by a slice, integer array or boolean array (`Bags`)."""
        if isinstance(key, tuple):  # scikit-learn indexes arrays as X[rows, ...]
            key = key[0]
        if isinstance(key, (int, np.integer)):
            return self._bag(int(np.arange(len(self))[key]))
        if not isinstance(key, slice):
            key = np.asarray(key)
            key = key.astype(np.intp) if key.size == 0 and key.dtype != np.bool_ else key
        return Bags(
            self._rows,
            self._start[key],
            self._stop[key],
            self.images[key],
            self.labels[key],
            self.groups[key],
            self.provenance,
        )

    def at_repeat(self, repeat: int) -> Bags:
        """Return the images that have this repeat of every blob, with it in the place of the clean one.

        What a model says of it is what it says of the augmented crops: averaged over repeats, that is test-time
        augmentation.
        """
        rows, image = self._all_rows()
        blobs = np.bincount(image[self._rows.repeat[rows] == 0], minlength=len(self))
        wanted = self._rows.repeat[rows] == repeat
        found = np.bincount(image[wanted], minlength=len(self))
        whole = (found == blobs) & (found > 0)
        kept = rows[wanted & whole[image]]
        start = np.cumsum(found[whole]) - found[whole]
        taken = replace(self._rows.copied(kept), repeat=np.zeros(len(kept), dtype=np.int32))
        some: Bags = self[whole]
        return replace(some, _rows=taken, _start=start, _stop=start + found[whole])

    def at_scales(self, scales: Sequence[int]) -> Bags:
        """Return the same images with the crops of some scales alone.

        Parameters
        ----------
        scales : sequence of int
            1 for blobs, 2 and more for squares so many times as wide around them, 0 for tiles.

        Raises
        ------
        SettingError
            If one is not there.
        DataError
            If an image has no crop left.
        """
        return at_scales(self, scales)

    def side_by_side(self, scales: Sequence[int]) -> Bags:
        """Return bags with one instance for each blob and repeat: its embeddings at several scales, one after another.

        Of several crops at one scale, which tiles are, it takes the mean. Embeddings are as many times as long.

        Raises
        ------
        SettingError, DataError
            As `at_scales`, or if a blob lacks a scale that others have.
        """
        return side_by_side(self, scales)

    def instances(self, repeats: Repeats = "clean") -> Instances:
        """Return the rows of all bags, in the order of the images, then blob, then repeat.

        Parameters
        ----------
        repeats : {"clean", "all"} or sequence of int
            "clean" is repeat 0 alone.

        Returns
        -------
        Instances

        Raises
        ------
        SettingError
            If ``repeats`` is another word.
        """
        at = self.locate(repeats)
        return Instances(at.gather(slice(None)), at.image, at.blob, at.repeat)

    def locate(self, repeats: Repeats = "clean") -> Located:
        """Return what `instances` does, with the embeddings left in the memory that all bags share."""
        rows, image = self._all_rows()
        wanted = repeat_numbers(repeats)
        if wanted is not None:
            kept = np.isin(self._rows.repeat[rows], wanted)
            rows, image = rows[kept], image[kept]
        # Plain arrays are quicker to index than those that are mapped from a file.
        return Located(np.asarray(self._rows.embeddings), rows, image, self._rows.blob[rows], self._rows.repeat[rows])

    def means(self, repeats: Repeats = "clean") -> NDArray[np.float32]:
        """Return the mean embedding of each image over its blobs (and the repeats asked for), (n_images, dim).

        Raises
        ------
        DataError
            If an image has none of these repeats.
        """
        at = self.locate(repeats)
        starts = run_starts(at.image)
        if len(starts) < len(self):
            raise DataError(
                f"{len(self) - len(starts)} of {len(self)} images have no repeat of {repeats}",
                expected="a repeat that every image has, such as 0",
            )
        return run_means(at.stored, at.row, starts)

    def repeat_means(self) -> Instances:
        """Return the mean over blobs for each (image, repeat): training rows for heads on image embeddings."""
        at = self.locate("all")
        order = np.lexsort((at.repeat, at.image))
        image, repeat = at.image[order], at.repeat[order]
        first = run_starts(image, repeat)
        means = run_means(at.stored, at.row[order], first)
        return Instances(means, image[first], np.full(len(first), -1, dtype=np.int32), repeat[first])

    def _bag(self, index: int) -> Bag:
        rows, at = self._rows, np.arange(self._start[index], self._stop[index])
        span = slice(self._start[index], self._stop[index])
        embeddings = rows.embeddings[span].astype(np.float32, copy=False)
        columns = (rows.blob[span], rows.repeat[span], rows.scale_at(at), rows.parent_at(at))
        return Bag(str(self.images[index]), str(self.labels[index]), embeddings, *columns)

    def _all_rows(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """List the rows of all images, and for each the position of its image."""
        counts = self._stop - self._start
        return rows_of_runs(self._start, counts), np.repeat(np.arange(len(self)), counts)
