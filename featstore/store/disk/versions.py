"""Versions: numbered JSON files, each naming the tables that make up the state of the store.

A version file never changes. What it says of segments and images is read when it is first needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from featstore.errors import RecipeMismatchError, StoreFormatError, StoreNotFoundError
from featstore.recipe import differences
from featstore.recipe import fingerprint as fingerprint_of
from featstore.store.disk.columns import ImageTable
from featstore.store.disk.documents import damaged, read_body
from featstore.store.disk.opening import unreadable
from featstore.store.disk.segments import Segment, SegmentEntry, read_segment
from featstore.store.disk.tables import FOLDER as TABLES
from featstore.store.disk.tables import SegmentList, Table, TableEntry, add_up, is_digest, read_table
from featstore.store.images import ImageRow

__all__ = [
    "FOLDERS",
    "LOG_FIELDS",
    "SEGMENTS",
    "VERSIONS",
    "State",
    "Version",
    "newest_number",
    "read_version",
    "require_recipe",
    "version_numbers",
    "version_path",
]

VERSIONS, SEGMENTS = "versions", "segments"
FOLDERS = (VERSIONS, TABLES, SEGMENTS)
_ENTRY = ("sha256", "bytes", "segments", "images")
LOG_FIELDS = ("version", "created", "operation", "added", "how")


class State(Protocol):
    """What a store was made by and from: `Version`, or `PackedVersion`."""

    @property
    def store(self) -> Path:
        """The folder, or the file."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What was computed."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    @property
    def dtype(self) -> str:
        """How embeddings are stored."""


@dataclass(frozen=True, eq=False)
class Version:
    """The state of a store at one version; tables are read when they are first needed.

    Attributes
    ----------
    store : Path
    number : int
        Counts from 1, without gaps; 0 for a store that is yet to be made.
    recipe : mapping
    dim : int
    dtype : str
        ``float32`` or ``float16``.
    tables : tuple of TableEntry
    log : mapping
        When and by what the version was made, and what it added.
    known : dict of TableEntry to Table
        Tables that were read already; versions that follow each other share most of theirs.
    """

    store: Path
    number: int
    recipe: Mapping[str, Any]
    dim: int
    dtype: str
    tables: tuple[TableEntry, ...] = ()
    log: Mapping[str, Any] = field(default_factory=dict)
    known: dict[TableEntry, Table] = field(default_factory=dict, repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the recipe's canonical JSON."""
        return fingerprint_of(self.recipe)

    def read_table(self, entry: TableEntry) -> Table:
        """Read a table, once."""
        if entry not in self.known:
            self.known[entry] = read_table(self.store, entry, self.fingerprint)
        return self.known[entry]

    def image(self, name: str) -> ImageRow | None:
        """Look an image up table by table, the last first: what `images` says of it, without adding the tables up."""
        rows = (self.read_table(entry).images.get(name) for entry in reversed(self.tables))
        return next((row for row in rows if row is not None), None)

    @property
    def images(self) -> ImageTable:
        """Every image, those that are left out among them."""
        return self._table.images

    @cached_property
    def segments(self) -> tuple[SegmentEntry, ...]:
        """The segments, in the order in which they were committed."""
        return self._table.segments.entries()

    @cached_property
    def _table(self) -> Table:
        nothing = Table(SegmentList.of([]), ImageTable.from_rows([]))
        return add_up([nothing, *map(self.read_table, self.tables)])

    def read_segments(self) -> list[Segment]:
        """Open all segments.

        Raises
        ------
        StoreFormatError
            If one can't be read.
        """
        folder = self.store / SEGMENTS
        return [read_segment(folder, entry, fingerprint=self.fingerprint, dim=self.dim) for entry in self.segments]


def version_path(store: Path, number: int) -> Path:
    """Path of a version file."""
    return store / VERSIONS / f"{number:08d}.json"


def version_numbers(store: Path) -> list[int]:
    """Numbers of the version files there, ascending."""
    return sorted(number for number in map(_number, _names(store)) if number)


def newest_number(store: Path) -> int:
    """Tell the number of the newest version file, 0 where there is none; of ten thousand names few are looked at."""
    names = _names(store)
    while names:
        last = max(names)
        if number := _number(last):
            return number
        names.remove(last)
    return 0


def _number(name: str) -> int:
    """Read the number in the name of a version file, 0 for other names."""
    stem = name.removesuffix(".json")
    number = int(stem) if stem != name and stem.isascii() and stem.isdigit() else 0
    return number if name == f"{number:08d}.json" else 0


def _names(store: Path) -> list[str]:
    try:
        return os.listdir(store / VERSIONS)  # noqa: PTH208 - ten thousand paths would take ten times as long
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(store / VERSIONS, error, "a folder") from error


def read_version(store: Path, number: int | None = None) -> Version:
    """Read the state at a version, the newest by default.

    Raises
    ------
    StoreNotFoundError
        If there is no store at the path, or no such version in it.
    StoreFormatError
        If the version file is not what the format says.
    """
    if store.is_file():
        raise StoreFormatError(
            f"{store}: a file, and a packed store can't be changed",
            expected="the folder of a store",
            remedy=f"Make one of it with: featstore store merge {store} --into NAME.store",
        )
    number = newest_number(store) if number is None else number
    path = version_path(store, number)
    if not os.path.lexists(path):
        raise _no_version(store, number)
    body = read_body(path)
    try:
        return _version(store, number, body)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise damaged(path, f"its fields do not fit together ({error})") from error


def _version(store: Path, number: int, body: Mapping[str, Any]) -> Version:
    """Take the fields of a version file, each of them checked."""
    tables = tuple(TableEntry(**{name: value[name] for name in _ENTRY}) for value in body["tables"])
    log = {name: body.get(name) for name in LOG_FIELDS}
    version = Version(store, number, dict(body["recipe"]), body["dim"], body["dtype"], tables, log)
    whole = [value for entry in tables for value in (entry.bytes, entry.segments, entry.images)]
    fits = {
        "version": type(body["version"]) is int and body["version"] == number,
        "fingerprint": version.fingerprint == body["fingerprint"],
        "dtype": version.dtype in {"float32", "float16"},
        "dim": type(version.dim) is int and version.dim > 0,
        "tables": all(type(value) is int and value >= 0 for value in whole)
        and all(is_digest(entry.sha256) for entry in tables),
    }
    if not all(fits.values()):
        raise ValueError(", ".join(name for name in fits if not fits[name]))
    return version


def _no_version(store: Path, number: int) -> StoreNotFoundError:
    numbers = version_numbers(store)
    if numbers:
        return StoreNotFoundError(f"{store}: no version {number}", expected=f"{numbers[0]} to {numbers[-1]}")
    return StoreNotFoundError(
        f"{store}: {'a folder that holds no version of a store' if store.is_dir() else 'no store there'}",
        remedy="Name an existing store, or make one with: featstore extract",
    )


def require_recipe(version: State, asked: State) -> None:
    """Refuse a recipe, dimension or type other than the store's, naming the fields that differ.

    Raises
    ------
    RecipeMismatchError
    """
    theirs, ours = (
        {"recipe": dict(state.recipe), "dim": state.dim, "dtype": state.dtype} for state in (version, asked)
    )
    different = differences(theirs, ours)
    if different:
        fields = "; ".join(f"{path.removeprefix('recipe.')} is {a!r}, asked for {b!r}" for path, a, b in different)
        of_another_release = any(path.endswith(".version") for path, _, _ in different)
        why = ": this one is of another release" if of_another_release else ", or take the options it was made with"
        raise RecipeMismatchError(
            f"{version.store} was made by another recipe: {fields}",
            expected="the same recipe: embeddings of different ones never mix",
            remedy=f"Name another store with --store{why}.",
        )
