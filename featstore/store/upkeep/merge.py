"""Merging stores of one recipe, for instance those that several machines filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, RecipeMismatchError, SettingError, StoreFormatError
from featstore.recipe import differences
from featstore.store.disk.columns import ImageTable
from featstore.store.disk.commits import Change, commit, nothing_yet
from featstore.store.disk.versions import SEGMENTS, version_numbers
from featstore.store.images import ImageRow
from featstore.store.index import read_rows
from featstore.store.reader import Store, open_store
from featstore.store.runs import pieces
from featstore.store.upkeep.rewrite import Stored, write_segments

__all__ = ["Merge", "merge"]

_SHOWN = 5
_CHUNK_BYTES = 2**24


@dataclass(frozen=True)
class Merge:
    """What a merge wrote.

    Attributes
    ----------
    version : int
    images, embeddings : int
    conflicts : list of str
        What the sources did not agree on, in words; ``prefer`` decided it.
    """

    version: int
    images: int
    embeddings: int
    conflicts: list[str]


def merge(sources: Sequence[str | Path], target: str | Path, *, prefer: str | None = None) -> Merge:
    """Put the newest versions of several stores into a new one; the sources stay as they are.

    Parameters
    ----------
    sources : sequence of str or Path
        Stores of one recipe, folders or packed; a single one is copied, without what no longer counts.
    target : str or Path
        Folder of the store to make.
    prefer : {None, "first", "last"}
        Which source is right where two disagree: on the content of an image, its label, split or group, or the value
        of an embedding. By default a disagreement is an error that names it.

    Raises
    ------
    SettingError
        If there are no sources, or ``prefer`` is another word.
    RecipeMismatchError
        If recipes differ.
    DataError
        If sources disagree, and nothing is preferred; or on the resolution that tiles of an image were cut by.
    StoreFormatError
        If the target is there already.
    """
    if prefer not in {None, "first", "last"} or not sources:
        raise SettingError(f"{len(sources)} stores, prefer {prefer!r}", expected="stores, and first, last or None")
    stores = _opened(sources)
    place = Path(target)
    if version_numbers(place):
        raise StoreFormatError(f"{place}: a store already", expected="the name of a store to make")
    base = nothing_yet(place, stores[0].recipe, stores[0].dim, stores[0].dtype)
    ordered = stores[::-1] if prefer == "last" else stores
    rows, conflicts = _merged_rows(ordered)
    rows = _in_order(rows, stores)
    stored, source = _all_rows(ordered, ImageTable.from_rows(list(rows.values())))
    conflicts += _unequal(stored, source, ordered)
    if conflicts and prefer is None:
        raise _disagreement(conflicts)
    new = write_segments(place / SEGMENTS, stored, np.arange(len(stored.index)), base.fingerprint)
    how = {"sources": [{"store": store.path.name, "version": store.version} for store in stores], "prefer": prefer}
    edits = {name: partial(_become, row) for name, row in rows.items()}
    version = commit(base, Change("merge", tuple(new), edits, how), rebase=False).number
    return Merge(version, len(rows), len(stored.index), conflicts)


def _opened(sources: Sequence[str | Path]) -> list[Store]:
    """Open stores, which must be of one recipe."""
    stores = [open_store(source) for source in sources]
    for store in stores[1:]:
        _require_one_recipe(stores[0], store)
    return stores


def _require_one_recipe(one: Store, other: Store) -> None:
    sides = ({"recipe": dict(store.recipe), "dim": store.dim, "dtype": store.dtype} for store in (one, other))
    different = differences(*sides)
    if different:
        fields = "; ".join(f"{path.removeprefix('recipe.')} is {a!r} and {b!r}" for path, a, b in different)
        raise RecipeMismatchError(
            f"{one.path} and {other.path} are of different recipes: {fields}",
            remedy="Merge takes stores of one recipe: embeddings of different ones never mix.",
        )


def _all_rows(stores: Sequence[Store], images: ImageTable) -> tuple[Stored, NDArray[np.intp]]:
    """Index the rows of all stores, the first store being right, and tell the store of each segment."""
    parts = [store.state.read_segments() for store in stores]
    segments = [segment for part in parts for segment in part]
    source = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Stored.of(segments, images, stores[0].dim, stores[0].dtype), source


def _disagreement(conflicts: Sequence[str]) -> DataError:
    more = f"; and {len(conflicts) - _SHOWN} more" if len(conflicts) > _SHOWN else ""
    return DataError(
        f"the stores disagree: {'; '.join(conflicts[:_SHOWN])}{more}",
        remedy="Say which is right: --prefer first, or last.",
    )


def _merged_rows(stores: Sequence[Store]) -> tuple[dict[str, ImageRow], list[str]]:
    """Add up the image tables, the first store being right, and name what they disagree on."""
    rows: dict[str, ImageRow] = {}
    conflicts: list[str] = []
    for store in stores:
        for row in sorted(store.images.values(), key=lambda row: row.position):
            if row.image not in rows:
                rows[row.image] = row
                continue
            first = rows[row.image]
            _require_one_resolution(store, first, row)
            conflicts.extend(f"{store.path}: {found}" for found in _disagreements(first, row))
            rows[row.image] = _filled(first, row)
    return rows, conflicts


def _disagreements(first: ImageRow, second: ImageRow) -> Iterator[str]:
    if first.identity != second.identity and not (first.reason or second.reason):
        yield f"{first.image!r} has other content"
    for name in ("label", "split", "group"):
        one, other = getattr(first, name), getattr(second, name)
        if one and other and one != other:
            yield f"{first.image!r} has {name} {other!r}, not {one!r}"


def _require_one_resolution(store: Store, first: ImageRow, second: ImageRow) -> None:
    """Refuse tiles of one image that were cut by two resolutions: keys that one store alone has would mix them."""
    may_count = first.identity == second.identity or first.reason or second.reason
    if first.mpp and second.mpp and first.mpp != second.mpp and may_count:
        raise DataError(
            f"the stores disagree: {store.path}: {first.image!r} has mpp {second.mpp}, not {first.mpp}",
            expected="tiles of an image that were cut by one resolution; --prefer does not decide this",
            remedy="Extract the data of the store that is wrong anew, with the column mpp put right.",
        )


def _filled(first: ImageRow, second: ImageRow) -> ImageRow:
    """Take what the first does not say from the second, and all of it where the first could not use the image."""
    start, other = (second, first) if first.reason and not second.reason else (first, second)
    shared = ("label", "group", "mpp") if start.identity == other.identity else ("label", "group")
    said = {name: getattr(start, name) or getattr(other, name) for name in shared}
    return replace(start, **said, split=first.split, position=first.position, sample_index=first.sample_index)


def _in_order(rows: dict[str, ImageRow], stores: Sequence[Store]) -> dict[str, ImageRow]:
    """Keep the order of the data where the sources are parts of it, else put source after source."""
    if len({row.position for row in rows.values()}) == len(rows):
        return rows
    order = dict.fromkeys(
        row.image for store in stores for row in sorted(store.images.values(), key=lambda row: row.position)
    )
    return {name: replace(rows[name], position=place) for place, name in enumerate(order)}


def _unequal(stored: Stored, source: NDArray[np.intp], stores: Sequence[Store]) -> list[str]:
    """Name keys that two stores computed from the same content with unequal results.

    Within a store its first row of a key counts, and no other is looked at.
    """
    index, again = stored.index, stored.index.again
    origin = source[again[:, 1]]
    _, first = np.unique(np.stack([again[:, 0], origin]), axis=1, return_index=True)
    again = again[np.sort(first[origin[first] != source[index.file[again[first, 0]]]])]
    named = []
    for piece in pieces(len(again), stored.row_bytes, _CHUNK_BYTES):
        part = again[piece]
        kept = index.gather(part[:, 0], stored.dim, stored.dtype)
        other = read_rows(index.files, part[:, 1], part[:, 2], stored.dim, stored.dtype)
        for place, file, _ in part[(kept != other).any(axis=1)].tolist():
            key = (index.names[index.image[place]], int(index.blob[place]), int(index.repeat[place]))
            named.append(f"{stores[source[file]].path}: embedding {key} differs")
    return named


def _become(row: ImageRow, _: ImageRow | None) -> ImageRow:
    return row
