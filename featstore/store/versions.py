"""Versions: numbered JSON files, each naming the tables that make up the state of the store.

A version file is created exclusively and never changes. Two writers that reach for the same number can't both have it:
the loser reads what the winner wrote and takes the next.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from featstore.errors import RecipeMismatchError, StoreFormatError, StoreNotFoundError, StoreWriteError
from featstore.recipe import canonical_json, differences
from featstore.recipe import fingerprint as fingerprint_of
from featstore.store.columns import ImageTable
from featstore.store.container import FORMAT
from featstore.store.files import create_exclusively, make_folder, open_regular, read_at, unreadable
from featstore.store.images import ImageRow, check_row
from featstore.store.segments import Segment, SegmentEntry, read_segment
from featstore.store.tables import FOLDER as TABLES
from featstore.store.tables import SegmentList, Table, TableEntry, add_up, is_digest, read_table, settle, write_table

__all__ = [
    "FOLDERS",
    "SEGMENTS",
    "VERSIONS",
    "Change",
    "Version",
    "commit",
    "nothing_yet",
    "read_version",
    "require_recipe",
    "version_numbers",
    "version_path",
]

Edit: TypeAlias = Callable[[ImageRow | None], ImageRow]

VERSIONS, SEGMENTS = "versions", "segments"
FOLDERS = (VERSIONS, TABLES, SEGMENTS)
_ATTEMPTS = 1000
_UPGRADE = "Install a newer featstore (pip install --upgrade featstore), or open an earlier version."
_LARGEST = 2**26


class State(Protocol):
    """What a store was made by and from: `Version`, or `PackedVersion`."""

    @property
    def store(self) -> Path:
        """The folder, or the file."""

    @property
    def recipe(self) -> Mapping[str, Any]: ...

    @property
    def dim(self) -> int: ...

    @property
    def dtype(self) -> str: ...


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
    """

    store: Path
    number: int
    recipe: Mapping[str, Any]
    dim: int
    dtype: str
    tables: tuple[TableEntry, ...] = ()
    log: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the recipe's canonical JSON."""
        return fingerprint_of(self.recipe)

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
        return add_up([nothing, *(read_table(self.store, entry, self.fingerprint) for entry in self.tables)])

    def read_segments(self) -> list[Segment]:
        """Open all segments.

        Raises
        ------
        StoreFormatError
            If one can't be read.
        """
        folder = self.store / SEGMENTS
        return [read_segment(folder, entry, fingerprint=self.fingerprint, dim=self.dim) for entry in self.segments]


@dataclass(frozen=True)
class Change:
    """What a commit adds: segments and edits of image rows, and how they were made.

    An edit takes an image's row as it is in the version that is built upon (None for a new image) and returns it as it
    is to be. So a commit that comes second changes what it means to change, and keeps what the first one changed.
    Segments in ``replaces`` go; the new ones take the place of the first of them.
    """

    operation: str
    segments: tuple[SegmentEntry, ...] = ()
    edits: Mapping[str, Edit] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)
    replaces: frozenset[SegmentEntry] = frozenset()

    def rows(self, images: Mapping[str, ImageRow]) -> list[ImageRow]:
        """Carry out the edits; rows that come out as they were are not among the result."""
        edited = ((images.get(name), check_row(edit(images.get(name)))) for name, edit in self.edits.items())
        return [new for old, new in edited if new != old]


def version_path(store: Path, number: int) -> Path:
    """Path of a version file."""
    return store / VERSIONS / f"{number:08d}.json"


def version_numbers(store: Path) -> list[int]:
    """Numbers of the version files there, ascending."""
    return sorted(number for number in map(_number, _names(store)) if number)


def _newest(store: Path) -> int:
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
        raise StoreFormatError(f"{store}: can't be read now ({error.strerror})") from error


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
    newest = _newest(store)
    if not newest:
        raise StoreNotFoundError(
            f"{store}: no store there" if not store.exists() else f"{store}: a folder that holds no version of a store",
            remedy="Name an existing store, or make one with: featstore extract",
        )
    number = newest if number is None else number
    path = version_path(store, number)
    if not path.exists():
        raise StoreNotFoundError(f"{store}: no version {number}", expected=f"{version_numbers(store)[0]} to {newest}")
    body = _read_body(path, number)
    try:
        tables = tuple(TableEntry(**{name: value[name] for name in _ENTRY}) for value in body["tables"])
        version = Version(store, number, dict(body["recipe"]), body["dim"], body["dtype"], tables, _log(body))
        whole = [value for entry in tables for value in (entry.bytes, entry.segments, entry.images)]
        right = (
            body["version"] == number
            and version.fingerprint == body["fingerprint"]
            and version.dtype in {"float32", "float16"}
            and all(type(value) is int and value >= 0 for value in (*whole, version.dim))
            and version.dim > 0
            and all(is_digest(entry.sha256) for entry in tables)
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise unreadable(path, error, "a version") from error
    if not right:
        raise StoreFormatError(f"{path}: its fields do not fit together", remedy=_restore(number))
    return version


_ENTRY = ("sha256", "bytes", "segments", "images")
_LOG = ("version", "created", "operation", "added", "how")


def _log(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body.get(name) for name in _LOG}


def _read_body(path: Path, number: int) -> dict[str, Any]:
    """Read one version file, checked against its own checksum."""
    try:
        with open_regular(path) as (descriptor, size):
            document = json.loads(read_at(descriptor, 0, min(size, _LARGEST)))
        body, stated = document["body"], document["sha256"]
        if document["format"] != FORMAT:
            raise StoreFormatError(f"{path}: format {document['format']}", expected=f"format {FORMAT}", remedy=_UPGRADE)
        if hashlib.sha256(canonical_json(body).encode()).hexdigest() != stated:
            raise StoreFormatError(f"{path}: its checksum does not match", remedy=_restore(number))
        return dict(body)
    except StoreFormatError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, OSError):
            raise unreadable(path, error, "a version") from error
        raise StoreFormatError(f"{path}: not readable as a version ({error})", remedy=_restore(number)) from error


def commit(base: Version, change: Change, rows: Sequence[ImageRow] | None = None) -> Version:
    """Create the next version: ``base`` and ``change``, or, where others were faster, theirs and ``change``.

    Parameters
    ----------
    base : Version
    change : Change
    rows : sequence of ImageRow, optional
        What the edits come to on ``base``, where that is known already.

    Raises
    ------
    StoreWriteError
        If a file can't be written, or what the change replaces is no longer there.
    RecipeMismatchError
        If another writer made the store with another recipe meanwhile.
    """
    store = base.store
    for folder in (VERSIONS, TABLES):
        make_folder(store / folder)
    for _ in range(_ATTEMPTS):
        if not _is_newest(base):
            base, rows = _latest(base), None
        state = _apply(base, change, change.rows(base.images) if rows is None else rows)
        body = {
            **state.log,
            "recipe": dict(state.recipe),
            "fingerprint": state.fingerprint,
            "dim": state.dim,
            "dtype": state.dtype,
            "tables": [asdict(entry) for entry in state.tables],
        }
        digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
        document = json.dumps({"format": FORMAT, "sha256": digest, "body": body}, indent=1, ensure_ascii=False)
        if create_exclusively(version_path(store, state.number), document.encode()):
            return state
    raise StoreWriteError(f"{store}: {_ATTEMPTS} other commits came first", remedy="Run the same command again.")


def _is_newest(base: Version) -> bool:
    """Tell whether a version is the newest still: another may have followed, and a vacuum have removed them both."""
    if base.number == 0:
        return not _newest(base.store)
    return version_path(base.store, base.number).exists() and not version_path(base.store, base.number + 1).exists()


def _latest(base: Version) -> Version:
    """Read the newest version, which others committed meanwhile."""
    newest = read_version(base.store)
    require_recipe(newest, base)
    return newest


def nothing_yet(store: Path, recipe: Mapping[str, Any], dim: int, dtype: str) -> Version:
    """Begin a store: the state before its first version.

    Raises
    ------
    StoreFormatError
        If something else is in the folder.
    """
    if store.is_file():
        raise StoreFormatError(f"{store}: a file", expected="a folder, or nothing yet")
    others = sorted(path.name for path in store.iterdir() if path.name not in FOLDERS) if store.is_dir() else []
    if others:
        raise StoreFormatError(
            f"{store}: a folder that holds {others[0]!r} and no store", expected="a folder that is not there yet"
        )
    return Version(store, 0, recipe, dim, dtype)


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
        raise RecipeMismatchError(
            f"{version.store} was made by another recipe: {fields}",
            expected="the same recipe: embeddings of different ones never mix",
            remedy="Name another store with --store, or take the options it was made with.",
        )


def _apply(base: Version, change: Change, rows: Sequence[ImageRow]) -> Version:
    new = Table(SegmentList.of(change.segments), ImageTable.from_rows(rows))
    tables: tuple[TableEntry, ...]
    if change.replaces:
        tables = (write_table(base.store, _replaced(base, change, new), base.fingerprint),)
    else:
        tables = settle(base.store, base.fingerprint, base.tables, new)
    log = {
        "version": base.number + 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "operation": change.operation,
        "how": dict(change.how),
        "added": {"rows": sum(entry.rows for entry in change.segments), "images": len(rows)},
    }
    return Version(base.store, base.number + 1, base.recipe, base.dim, base.dtype, tables, log)


def _replaced(base: Version, change: Change, new: Table) -> Table:
    """Put the new segments where the first of those that they replace was."""
    if not change.replaces <= set(base.segments):
        raise StoreWriteError(
            f"{base.store}: what was to be replaced is gone, another writer was faster",
            remedy="Run the same command again.",
        )
    segments: list[SegmentEntry] = []
    waiting = list(change.segments)
    for entry in base.segments:
        if entry in change.replaces:
            segments.extend(waiting)
            waiting = []
        else:
            segments.append(entry)
    return Table(SegmentList.of(segments), ImageTable.merged([base.images, new.images]))


def _restore(number: int) -> str:
    return f"Restore it from a copy, or open an earlier version with: --store-version {max(1, number - 1)}"
