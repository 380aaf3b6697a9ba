"""What is exported: some rows of a store with what is known of their images, read a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, SettingError
from featstore.recipe import canonical_json
from featstore.store.exchange.batches import BOX_COLUMNS
from featstore.store.exchange.foreign import BUDGET
from featstore.store.images import ImageRow
from featstore.store.reader import Store

__all__ = ["Progress", "Selection", "select"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Selection:
    """Rows of a store, in key order.

    Attributes
    ----------
    store : Store
    rows : ndarray of shape (n,), int
        Positions within ``store.keys``.
    images : list of ImageRow
        Those with rows, in key order.
    code : ndarray of shape (n,), int32
        The image of each row, counted within ``images``.
    blob, repeat : ndarray of shape (n,), int32
    boxes : ndarray of shape (n, 5), int32, or None
        ``area_px, x0, y0, x1, y1`` of each row's blob, zeros where its box isn't known; None if none is.
    progress : callable or None
    """

    store: Store
    rows: NDArray[np.intp]
    images: list[ImageRow]
    code: NDArray[np.int32]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]
    boxes: NDArray[np.int32] | None
    progress: Progress | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Read embeddings, as many at a time as memory is set aside for."""
        stop = len(self) if stop is None else stop
        step = max(1, BUDGET // (4 * self.store.dim))
        for first in range(start, stop, step):
            piece = slice(first, min(stop, first + step))
            yield piece, self.store.take(self.rows[piece])
            if self.progress:
                self.progress(piece.stop, len(self))

    def names(self) -> NDArray[np.str_]:
        """Tell the names of the images."""
        return np.array([row.image for row in self.images], dtype=np.str_)

    def texts(self) -> dict[str, NDArray[np.str_]]:
        """Tell label, split and group of the images."""
        fields = ("label", "split", "group")
        return {name: np.array([getattr(row, name) for row in self.images], dtype=np.str_) for name in fields}

    def by_image(self) -> Iterator[tuple[ImageRow, int, int]]:
        """Go through the images with their first row and the one behind their last."""
        bounds = np.searchsorted(self.code, np.arange(len(self.images) + 1)).tolist()
        return zip(self.images, bounds[:-1], bounds[1:], strict=True)

    def note(self, **further: Any) -> str:
        """Say where it is from, as JSON."""
        store = self.store
        return canonical_json(
            {"recipe": store.recipe, "fingerprint": store.fingerprint, "version": store.version, **further}
        )


def select(store: Store, repeats: int | None, split: str, progress: Progress | None = None) -> Selection:
    """Choose rows of a store.

    Parameters
    ----------
    store : Store
    repeats : int, optional
        Repeats up to this one, 0 for the clean crops alone; all by default.
    split : {"train", "test", "all"}
    progress : callable, optional

    Raises
    ------
    SettingError
        If the split is unknown, or repeats are below 0.
    DataError
        If there is nothing to export.
    """
    if repeats is not None and repeats < 0:
        raise SettingError(f"{repeats} repeats", expected="0 or more")
    usable, keys = store.usable(split), store.keys
    names, code = _coded(keys["image"])
    wanted = np.array([name in usable for name in names], dtype=np.bool_)
    keep = wanted[code] if len(names) else np.zeros(0, dtype=np.bool_)
    if repeats is not None:
        keep &= keys["repeat"] <= repeats
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise DataError(f"{store.path}: no embeddings in split {split!r}", expected="something to export")
    images = [usable[name] for name in names if name in usable]
    blob, repeat = (keys[name][rows].astype(np.int32) for name in ("blob", "repeat"))
    code = (np.cumsum(wanted) - 1)[code[rows]].astype(np.int32)
    return Selection(store, rows, images, code, blob, repeat, _boxes(store, images, code, blob), progress)


def _coded(images: NDArray[np.str_]) -> tuple[list[str], NDArray[np.int32]]:
    """Name each run of equal names once, and number the runs: keys are sorted by image."""
    if not len(images):
        return [], np.zeros(0, dtype=np.int32)
    first = np.append(True, images[1:] != images[:-1])
    return images[first].tolist(), (np.cumsum(first) - 1).astype(np.int32)


def _boxes(
    store: Store, images: list[ImageRow], code: NDArray[np.int32], blob: NDArray[np.int32]
) -> NDArray[np.int32] | None:
    """Find the box of each row's blob."""
    known = store.blobs
    names, numbered = _coded(known["image"])
    place = {row.image: number for number, row in enumerate(images)}
    where = np.array([place.get(name, -1) for name in [*names, ""]], dtype=np.int64)[numbered]
    known, where = known[where >= 0], where[where >= 0]
    if not len(known):
        return None
    key, wanted = (where << 32) + known["blob"], (code.astype(np.int64) << 32) + blob
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    boxes = np.column_stack([known[name][at] for name in BOX_COLUMNS]).astype(np.int32)
    boxes[key[at] != wanted] = 0
    return boxes
