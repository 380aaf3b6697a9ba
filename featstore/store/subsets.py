"""Which rows and images of a store a user means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError, SettingError
from featstore.store.images import ImageRow
from featstore.store.index import KeyIndex
from featstore.store.runs import rows_of_runs, run_numbers, run_starts

__all__ = ["as_labelled", "chosen_rows", "first_blobs", "is_whole", "positions", "repeats_up_to"]


def chosen_rows(
    index: KeyIndex,
    path: Path,
    repeats: Iterable[int] | None,
    images: Iterable[str] | None,
    blobs: Iterable[int] | None,
) -> NDArray[np.intp]:
    """List the rows of these repeats, images and blobs, None being all, in key order.

    Raises
    ------
    SettingError
        If what was given is no list of names, or of whole numbers.
    DataError
        If an image is not in the store, which ``path`` names.
    """
    rows = np.arange(len(index)) if images is None else _rows_of_images(index, path, _as_names(images))
    for name, column, wanted in (("repeats", index.repeat, repeats), ("blobs", index.blob, blobs)):
        if wanted is not None:
            rows = rows[np.isin(column[rows], _as_numbers(wanted, name))]
    return rows


def first_blobs(
    index: KeyIndex, rows: NDArray[np.intp], count: int, parent: NDArray[np.int32] | None = None
) -> NDArray[np.bool_]:
    """Tell which of some rows in key order are of the first so many blobs of each image.

    ``parent`` is the blob that each row belongs to, where that is not its own number.

    Raises
    ------
    SettingError
        If ``count`` is below 1.
    """
    if count < 1:
        raise SettingError(f"max_blobs is {count}", expected="1 or more")
    image, blob = index.image[rows], index.blob[rows]
    owner = (image.astype(np.int64) << 32) + (blob if parent is None else parent)
    owners = np.unique(owner)
    of_image = owners >> 32
    first = run_starts(of_image)
    early = np.arange(len(owners)) - first[run_numbers(first, len(owners))] < count
    kept: NDArray[np.bool_] = early[np.searchsorted(owners, owner)]
    return kept


def positions(index: KeyIndex, indices: ArrayLike) -> NDArray[np.intp]:
    """Read positions of keys, negative ones counting from the end.

    Raises
    ------
    SettingError
        If one is out of range, or they are not whole numbers.
    """
    count, asked = len(index), _as_numbers(indices, "indices")
    if asked.size and not -count <= int(asked.min()) <= int(asked.max()) < count:
        raise SettingError(f"indices from {asked.min()} to {asked.max()}", expected=f"less than {count}")
    return asked.astype(np.intp) % max(1, count)


def repeats_up_to(number: int | None, stored: list[int], path: Path) -> list[int]:
    """Tell the repeats that are stored up to a number, all of them by default.

    Raises
    ------
    SettingError
        If it is no number, below 0, or more than are stored.
    """
    if number is None:
        return stored
    if not is_whole(number) or number < 0:
        raise SettingError(f"repeats is {number!r}", expected="a number, 0 or more")
    most = max(stored, default=0)
    if number > most:
        raise SettingError(
            f"{number} repeats asked for, {most} stored in {path}",
            remedy=f"Add them with: featstore extract DATA --store {path} --repeats {number}",
        )
    return [repeat for repeat in stored if repeat <= number]


def is_whole(number: object) -> bool:
    """Tell whether something is a whole number, Python's or NumPy's; a truth value is none."""
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)


def as_labelled(
    images: Mapping[str, ImageRow],
    labels: Mapping[str, str] | None,
    groups: Mapping[str, str] | None,
    *,
    only_labelled: bool,
) -> dict[str, ImageRow]:
    """Take labels and groups that are given instead of those stored, and leave out what has no label then.

    Raises
    ------
    SettingError
        If one is no text.
    """
    rows = dict(images)
    if not all(isinstance(text, str) for given in (labels, groups) for text in (given or {}).values()):
        raise SettingError("a label or group that is no text", expected="a str for each image")
    if labels is not None:
        rows = {name: replace(row, label=labels.get(name, "")) for name, row in rows.items()}
    if groups is not None:
        rows = {name: replace(row, group=groups.get(name, "")) for name, row in rows.items()}
    return {name: row for name, row in rows.items() if row.label or not only_labelled}


def _rows_of_images(index: KeyIndex, path: Path, names: list[str]) -> NDArray[np.intp]:
    found = [index.place(name) for name in names]
    missing = [name for name, place in zip(names, found, strict=True) if place is None]
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        example = f"images as in store.keys, such as {index.names[0]!r}" if index.names else "images that are stored"
        raise DataError(f"{path}: no embeddings of {missing[0]!r}{others}", expected=example)
    places = np.array(found, dtype=np.int32)
    start, stop = (np.searchsorted(index.image, places, side=side) for side in ("left", "right"))
    return rows_of_runs(start, stop - start)


def _as_names(images: Iterable[str]) -> list[str]:
    """Sort names, each once, or refuse what is no list of them."""
    given = list(images) if isinstance(images, Iterable) and not isinstance(images, str) else None
    if given is None or not all(isinstance(name, str) for name in given):
        raise SettingError(f"images is {images!r}", expected="a list of names, such as ['img_0000.png']")
    return sorted(set(given))


def _as_numbers(values: ArrayLike | Iterable[int], name: str) -> NDArray[Any]:
    """Take whole numbers, or refuse what is no list of them."""
    try:
        numbers = np.asarray(values)
        if numbers.ndim == 0 and isinstance(values, Iterable):  # a set, or what is made while it is read
            numbers = np.asarray(list(values))
    except (ValueError, OverflowError) as error:
        raise SettingError(f"{name} is {values!r}", expected="a list of whole numbers") from error
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise SettingError(f"{name} of shape {numbers.shape}, {numbers.dtype}", expected="a list of whole numbers")
    return numbers
