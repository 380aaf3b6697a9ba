"""What a user gives a writer, checked: the keys of an image's rows, the boxes of its blobs, the embeddings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError
from featstore.store.disk.segments import BLOB_COLUMNS, OF_SCALES

__all__ = ["Added", "Identity", "Rows", "checked_embeddings"]

Identity: TypeAlias = tuple[str, str]
"""Digests of an image and of its mask: the content that rows were computed from."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Keys of rows of one image, ordered by blob and repeat, each once.

    Attributes
    ----------
    blobs, repeats : ndarray of shape (n,), int32
    boxes : ndarray of shape (n_blobs, 8), int32
    order : ndarray of shape (n,), int, or None
        Where each row stood in what was given; None where that was in order.
    """

    blobs: NDArray[np.int32]
    repeats: NDArray[np.int32]
    boxes: NDArray[np.int32]
    order: NDArray[np.intp] | None

    @classmethod
    def checked(cls, image: str, blobs: ArrayLike, repeats: ArrayLike, boxes: ArrayLike) -> Rows:
        """Take what a user gave, or refuse it with a `DataError`."""
        if not image or not isinstance(image, str):
            raise DataError(f"image is {image!r}", expected="a name")
        b, r = (_whole(values, name, image) for name, values in (("blobs", blobs), ("repeats", repeats)))
        if len(b) != len(r):
            raise DataError(f"image {image!r}: {len(b)} blobs, {len(r)} repeats", expected="as many of both")
        either = b | r  # has every bit of both: in range where it is
        if len(either) and not 0 <= int(either.min()) <= int(either.max()) < 2**31:
            raise DataError(f"image {image!r}: blobs or repeats out of range", expected="numbers from 0 to 2**31 - 1")
        key, order = (b << 32) + r, None
        if not bool((key[1:] > key[:-1]).all()):
            order = np.argsort(key, kind="stable")
            b, r, key = b[order], r[order], key[order]
            if bool((key[1:] == key[:-1]).any()):
                raise DataError(f"image {image!r}: a (blob, repeat) pair is given twice", expected="each key once")
        return cls(b.astype(np.int32), r.astype(np.int32), _boxes(boxes, image), order)

    def __len__(self) -> int:
        return len(self.blobs)

    @property
    def keys(self) -> set[tuple[int, int]]:
        """The (blob, repeat) pairs."""
        return set(zip(self.blobs.tolist(), self.repeats.tolist(), strict=True))

    @cached_property
    def has_clean(self) -> bool:
        """Whether a clean crop (repeat 0) is among them."""
        return len(self) > 0 and int(self.repeats.min()) == 0


class Added:
    """Keys that were added, by image and content."""

    def __init__(self) -> None:
        self._parts: defaultdict[tuple[str, Identity], list[Rows]] = defaultdict(list)

    def __iter__(self) -> Iterator[tuple[str, Identity]]:
        return iter(self._parts)

    def add(self, image: str, identity: Identity, rows: Rows) -> None:
        """Note rows."""
        self._parts[image, identity].append(rows)

    def update(self, other: Added) -> None:
        """Note what another one has noted."""
        for key, parts in other._parts.items():
            self._parts[key].extend(parts)

    def drop(self, image: str, identity: Identity) -> None:
        """Forget the rows of an image of this content."""
        self._parts.pop((image, identity), None)

    def keys(self, image: str, identity: Identity) -> set[tuple[int, int]]:
        """Tell the (blob, repeat) pairs added."""
        return set().union(*(rows.keys for rows in self._parts.get((image, identity), ())))

    def has_clean(self, image: str, identity: Identity) -> bool:
        """Tell whether a clean crop is among them."""
        return any(rows.has_clean for rows in self._parts.get((image, identity), ()))


def checked_embeddings(
    image: str, embeddings: ArrayLike, shape: tuple[int, int], dtype: np.dtype[Any]
) -> NDArray[np.floating[Any]]:
    """Take embeddings for what is stored of them, or refuse them with a `DataError`."""
    vectors = _array(embeddings, "embeddings", image)
    if vectors.shape != shape or vectors.dtype.kind not in "fiub":
        raise DataError(
            f"image {image!r}: embeddings of shape {vectors.shape}, {vectors.dtype}; {shape[0]} blobs",
            expected=f"real numbers of shape (n, {shape[1]}), n blobs and n repeats",
        )
    with np.errstate(over="ignore"):
        stored = vectors.astype(dtype, copy=False)
    if not np.isfinite(stored).all():
        raise DataError(
            f"image {image!r}: an embedding is not finite", expected=f"finite numbers that {dtype} can hold"
        )
    return stored


def _array(values: ArrayLike, name: str, image: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"image {image!r}: {name} that are no array ({error})", expected="rows of one length"
        ) from error


def _whole(values: ArrayLike, name: str, image: str) -> NDArray[np.int64]:
    array = _array(values, name, image)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise DataError(f"image {image!r}: {name} of shape {array.shape}, {array.dtype}", expected="whole numbers")
    return array.astype(np.int64)


def _boxes(values: ArrayLike, image: str) -> NDArray[np.int32]:
    width = len(BLOB_COLUMNS) - 1
    if isinstance(values, tuple) and not values:
        return np.zeros((0, width), dtype=np.int32)
    array = _array(values, "boxes", image)
    if array.size == 0:
        return np.zeros((0, width), dtype=np.int32)
    if array.ndim == 2 and array.shape[1] == width - OF_SCALES:
        array = np.column_stack([array, np.ones_like(array[:, 0]), array[:, 0]])  # each is its blob's own crop
    limits = np.iinfo(np.int32)
    if (
        array.shape != (len(array), width)
        or array.dtype.kind not in "iu"
        or not limits.min <= int(array.min()) <= int(array.max()) <= limits.max
        or int(array[:, [0, 1, -2, -1]].min()) < 0
    ):
        raise DataError(
            f"image {image!r}: boxes of shape {array.shape}, {array.dtype}, or with numbers out of range",
            expected=f"whole numbers of shape (n_blobs, {width - OF_SCALES}): number, area_px, x0, y0, x1, y1; or of "
            f"shape (n_blobs, {width}): scale and parent as well",
        )
    return array.astype(np.int32)
