"""What is exported: some rows of a store with what is known of their images, read a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, SettingError
from featstore.recipe import canonical_json
from featstore.store.exchange.batches import BOX_COLUMNS, SCALE_COLUMNS, TEXTS
from featstore.store.exchange.foreign import BUDGET
from featstore.store.images import ImageRow
from featstore.store.keys import number_images
from featstore.store.reader import Store
from featstore.store.runs import pieces, run_numbers, run_starts

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
    boxes : ndarray of shape (n, 5) or (n, 7), int32, or None
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
        for part in pieces(stop - start, 4 * self.store.dim, BUDGET):
            piece = slice(start + part.start, start + part.stop)
            yield piece, self.store.take(self.rows[piece])
            if self.progress:
                self.progress(piece.stop, len(self))

    def names(self) -> NDArray[np.str_]:
        """Tell the names of the images."""
        return np.array([row.image for row in self.images], dtype=np.str_)

    def texts(self) -> dict[str, NDArray[np.str_]]:
        """Tell sample_index, label, split and group of the images."""
        return {name: np.array([getattr(row, name) for row in self.images], dtype=np.str_) for name in TEXTS}

    @property
    def box_columns(self) -> tuple[str, ...]:
        """Names of the columns of ``boxes``."""
        several = self.boxes is not None and self.boxes.shape[1] > len(BOX_COLUMNS)
        return (*BOX_COLUMNS, *SCALE_COLUMNS) if several else BOX_COLUMNS

    def counts(self) -> dict[str, NDArray[np.int32]]:
        """Tell blob and repeat of each row, and the columns of its box where boxes are known."""
        boxes = {} if self.boxes is None else dict(zip(self.box_columns, self.boxes.T, strict=True))
        return {"blob": self.blob, "repeat": self.repeat, **boxes}

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
    names, code = number_images(keys)
    keep = np.array([name in usable for name in names.tolist()], dtype=np.bool_)[code]
    if repeats is not None:
        keep &= keys["repeat"] <= repeats
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise DataError(f"{store.path}: no embeddings in split {split!r}", expected="something to export")
    starts = run_starts(code[rows])
    images = [usable[name] for name in names[code[rows][starts]].tolist()]
    image = run_numbers(starts, len(rows)).astype(np.int32)
    blob, repeat = (keys[name][rows] for name in ("blob", "repeat"))
    return Selection(store, rows, images, image, blob, repeat, _boxes(store, images, image, blob), progress)


def _boxes(
    store: Store, images: list[ImageRow], code: NDArray[np.int32], blob: NDArray[np.int32]
) -> NDArray[np.int32] | None:
    """Find the box of each row's blob."""
    known = store.blobs
    names, numbered = number_images(known)
    place = {row.image: number for number, row in enumerate(images)}
    where = np.array([place.get(name, -1) for name in names.tolist()], dtype=np.int64)[numbered]
    known, where = known[where >= 0], where[where >= 0]
    if not len(known):
        return None
    key, wanted = (where << 32) + known["blob"], (code.astype(np.int64) << 32) + blob
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    several = (known["scale"] != 1).any() or (known["parent"] != known["blob"]).any()
    columns = (*BOX_COLUMNS, *(("scale", "parent") if several else ()))
    boxes = np.column_stack([known[name][at] for name in columns]).astype(np.int32)
    boxes[key[at] != wanted] = 0
    return boxes
