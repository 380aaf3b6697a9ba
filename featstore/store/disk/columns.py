"""The image table as columns: text of fixed length, text that repeats as codes, and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import StoreFormatError
from featstore.store.images import FIXED, LONGEST_FIXED_BYTES, SPLITS, ImageRow

__all__ = ["ImageTable", "decoded", "encoded", "is_fixed"]

CODED = ("split", "label", "group", "source", "reason", "note", "artefact", "given", "mask", "look", "mpp")
SELDOM = ("mask", "look", "mpp")
"""Columns that are written where an image has something in them."""

NUMBERS = ("position", "blobs")
_DEFAULTS = ImageRow("")


def encoded(values: Sequence[str]) -> NDArray[np.bytes_]:
    """UTF-8 of fixed length, padded with zeros: any HDF5 tool reads it, and nothing in the file is an object."""
    texts = [value.encode() for value in values]
    return np.array(texts, dtype=f"S{max([1, *map(len, texts)])}")


def decoded(column: NDArray[Any]) -> list[str]:
    """Read back what `encoded` wrote; `ValueError` where it is no text."""
    if column.ndim != 1 or column.dtype.kind != "S":
        raise ValueError(f"text of shape {column.shape}, {column.dtype}")
    texts = b"\0".join(column.tolist()).decode().split("\0") if len(column) else []
    if len(texts) != len(column):
        raise ValueError("a text with a zero inside")
    return texts


def is_fixed(column: NDArray[Any], count: int) -> bool:
    """Tell whether something is a column of ``count`` texts of fixed width, and not too wide."""
    return column.shape == (count,) and column.dtype.kind == "S" and column.itemsize <= LONGEST_FIXED_BYTES


@dataclass(frozen=True, eq=False)
class ImageTable(Mapping[str, ImageRow]):
    """What a version knows of its images, in the order in which they were first seen.

    Rows are made when they are asked for: a hundred thousand images cost a few arrays.

    Attributes
    ----------
    plain : dict of str to ndarray of shape (n,), bytes
        UTF-8.
    codes : dict of str to ndarray of shape (n,), int32
        Into ``categories``.
    categories : dict of str to list of str
    numbers : dict of str to ndarray of shape (n,), int64
    """

    plain: dict[str, NDArray[np.bytes_]]
    codes: dict[str, NDArray[np.int32]]
    categories: dict[str, list[str]]
    numbers: dict[str, NDArray[np.int64]]

    @classmethod
    def from_rows(cls, rows: Sequence[ImageRow]) -> ImageTable:
        """Make columns of rows."""
        plain = {name: encoded([getattr(row, name) for row in rows]) for name in FIXED}
        numbers = {name: np.array([getattr(row, name) for row in rows], dtype="<i8") for name in NUMBERS}
        codes, values = {}, {}
        for name in CODED:
            place: dict[str, int] = {}
            column = [place.setdefault(getattr(row, name), len(place)) for row in rows]
            codes[name], values[name] = np.array(column, dtype="<i4"), list(place)
        return cls(plain, codes, values, numbers)

    @classmethod
    def from_datasets(cls, datasets: Mapping[str, NDArray[Any]], where: str) -> ImageTable:
        """Read columns; those of later writers are ignored, absent ones take their default.

        Raises
        ------
        StoreFormatError
            If they are not of one length and of the right types.
        """
        try:
            count = len(datasets["images/image"])
            return cls(
                {name: _plain(datasets.get(f"images/{name}"), name, count) for name in FIXED},
                {name: _numbers(datasets.get(f"images/{name}/codes"), count, np.int32) for name in CODED},
                {name: _categories(datasets, name, count) for name in CODED},
                {name: _numbers(datasets.get(f"images/{name}"), count, np.int64) for name in NUMBERS},
            )._checked()
        except (KeyError, ValueError) as error:
            raise StoreFormatError(f"{where}: its image table can't be read ({error})") from error

    @classmethod
    def merged(cls, tables: Sequence[ImageTable]) -> ImageTable:
        """Add tables up: the last row of an image counts, at the place of the first."""
        tables = [table for table in tables if len(table)] or list(tables[:1])
        if len(tables) == 1:
            return tables[0]
        names = list(chain.from_iterable(table.plain["image"].tolist() for table in tables))
        last = np.fromiter(dict(zip(names, range(len(names)), strict=True)).values(), dtype=np.intp)
        codes, values = {}, {}
        for name in CODED:
            place: dict[str, int] = {}
            parts = []
            for table in tables:
                new = [place.setdefault(value, len(place)) for value in table.categories[name]]
                parts.append(np.array(new, dtype="<i4")[table.codes[name]])
            codes[name] = np.concatenate(parts)[last]
            values[name] = list(place)
        return cls(
            {name: np.concatenate([table.plain[name] for table in tables])[last] for name in FIXED},
            codes,
            values,
            {name: np.concatenate([table.numbers[name] for table in tables])[last] for name in NUMBERS},
        )

    def to_datasets(self) -> dict[str, NDArray[Any]]:
        """Lay the columns out for a file."""
        datasets: dict[str, NDArray[Any]] = {f"images/{name}": self.plain[name] for name in FIXED}
        for name in CODED:
            if name in SELDOM and not any(self.categories[name]):
                continue
            datasets[f"images/{name}/codes"] = self.codes[name]
            datasets[f"images/{name}/categories"] = encoded(self.categories[name])
        return {**datasets, **{f"images/{name}": self.numbers[name] for name in NUMBERS}}

    def __len__(self) -> int:
        return len(self.plain["image"])

    def __iter__(self) -> Iterator[str]:
        return iter(decoded(self.plain["image"]))

    def __getitem__(self, image: str) -> ImageRow:
        row: ImageRow | None = self.get(image)
        if row is None:
            raise KeyError(image)
        return row

    def get(self, image: Any, default: Any = None) -> Any:
        """Return the row of an image, or ``default``; a miss costs no exception."""
        place = self.places.get(image.encode(errors="surrogatepass")) if isinstance(image, str) else None
        return default if place is None else self._row(place)

    @cached_property
    def places(self) -> dict[bytes, int]:
        """Place of each image, by its name in UTF-8, in the columns."""
        return dict(zip(self.plain["image"].tolist(), range(len(self)), strict=True))

    @cached_property
    def left_out(self) -> NDArray[np.bool_]:
        """Which images don't count: see `ImageRow.left_out`."""
        reason, artefact = (self.codes[name] != self._code(name, "") for name in ("reason", "artefact"))
        left_out: NDArray[np.bool_] = reason | (artefact & (self.codes["split"] == self._code("split", "train")))
        return left_out

    def counts(self, column: str, places: NDArray[np.intp]) -> dict[str, int]:
        """Count the images at ``places`` by what a coded column says of them, empty text apart."""
        found = np.bincount(self.codes[column][places], minlength=len(self.categories[column])).tolist()
        return dict(sorted((value, n) for value, n in zip(self.categories[column], found, strict=True) if value and n))

    def _code(self, column: str, value: str) -> int:
        values = self.categories[column]
        return values.index(value) if value in values else -1

    def _row(self, place: int) -> ImageRow:
        fields: dict[str, Any] = {name: bytes(column[place]).decode() for name, column in self.plain.items()}
        fields |= {name: self.categories[name][column[place]] for name, column in self.codes.items()}
        fields |= {name: int(column[place]) for name, column in self.numbers.items()}
        return ImageRow(**fields)

    def _checked(self) -> ImageTable:
        for name, codes in self.codes.items():
            if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < len(self.categories[name]):
                raise ValueError(f"{name} has codes without a value")
            if len(set(self.categories[name])) < len(self.categories[name]):
                raise ValueError(f"{name} has a value twice")
        if not set(self.categories["split"]) <= set(SPLITS):
            raise ValueError("an image is in no known split")
        if min((int(column.min()) for column in self.numbers.values() if len(column)), default=0) < 0:
            raise ValueError("an image has fewer than no blobs, or no position")
        if len(self.places) < len(self) or b"" in self.places:
            raise ValueError("an image is there twice, or has no name")
        return self


def _plain(column: NDArray[Any] | None, name: str, count: int) -> NDArray[np.bytes_]:
    if column is None:
        return np.full(count, getattr(_DEFAULTS, name).encode(), dtype="S1")
    if not is_fixed(column, count):
        raise ValueError(f"{name} of shape {column.shape}, {column.dtype}")
    letters = column.view(np.uint8).reshape(count, column.itemsize)
    if int(letters.max(initial=0)) > 127 or bool(((letters[:, :-1] == 0) & (letters[:, 1:] != 0)).any()):
        decoded(column)
    return column


def _numbers(column: NDArray[Any] | None, count: int, kind: type[Any]) -> NDArray[Any]:
    column = np.zeros(count, dtype=kind) if column is None else column
    if column.shape != (count,) or column.dtype != kind:
        raise ValueError(f"a column of shape {column.shape}, {column.dtype}")
    return column


def _categories(datasets: Mapping[str, NDArray[Any]], name: str, count: int) -> list[str]:
    if f"images/{name}/codes" in datasets:
        return decoded(datasets[f"images/{name}/categories"])
    return [getattr(_DEFAULTS, name)] if count else []
