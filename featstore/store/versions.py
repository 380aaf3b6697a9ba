"""Versions: numbered JSON files, each saying what it adds to the one before.

A version file is created exclusively and never changes. Most list only what is new; every `WHOLE_EVERY`-th is whole,
so that opening a store reads a bounded number of files and committing costs the same however long the history is.
Two writers that reach for the same number can't both have it: the loser reads what the winner wrote and takes the next.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from featstore.errors import RecipeMismatchError, StoreFormatError, StoreNotFoundError, StoreWriteError
from featstore.recipe import canonical_json, differences
from featstore.recipe import fingerprint as fingerprint_of
from featstore.store.files import create_exclusively
from featstore.store.images import ImageRow, ImageTable, check_row, from_columns, to_columns
from featstore.store.segments import FORMAT, SegmentEntry

__all__ = [
    "Change",
    "Version",
    "commit",
    "read_header",
    "read_version",
    "version_numbers",
    "version_path",
]

Edit: TypeAlias = Callable[[ImageRow | None], ImageRow]

WHOLE_EVERY = 50
_ATTEMPTS = 1000
_UPGRADE = "Install a newer featstore (pip install --upgrade featstore), or open an earlier version."


@dataclass(frozen=True)
class Version:
    """The whole state of a store at one version.

    Attributes
    ----------
    number : int
        Counts from 1, without gaps.
    recipe : mapping
    dim : int
    dtype : str
        ``float32`` or ``float16``.
    segments : tuple of SegmentEntry
        In the order in which they were committed.
    images : dict of str to ImageRow
        In the order in which they were first seen.
    since_whole : int
        Versions since the last whole one.
    """

    number: int
    recipe: Mapping[str, Any]
    dim: int
    dtype: str
    segments: tuple[SegmentEntry, ...] = ()
    images: ImageTable = field(default_factory=dict)
    since_whole: int = 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the recipe's canonical JSON."""
        return fingerprint_of(self.recipe)


@dataclass(frozen=True)
class Change:
    """What a commit adds: segments and edits of image rows, and how they were made.

    An edit takes an image's row as it is in the version that is built upon (None for a new image) and returns it as it
    is to be. So a commit that comes second changes what it means to change, and keeps what the first one changed.
    """

    operation: str
    segments: tuple[SegmentEntry, ...] = ()
    edits: Mapping[str, Edit] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, images: ImageTable) -> list[ImageRow]:
        """Carry out the edits; rows that come out as they were are not among the result."""
        edited = ((images.get(name), check_row(edit(images.get(name)))) for name, edit in self.edits.items())
        return [new for old, new in edited if new != old]


def version_path(store: Path, number: int) -> Path:
    """Path of a version file."""
    return store / "versions" / f"{number:08d}.json"


def version_numbers(store: Path) -> list[int]:
    """Numbers of the version files there, ascending."""
    try:
        names = list((store / "versions").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreFormatError(f"{store}: can't be read now ({error.strerror})") from error
    numbers = [path.stem for path in names if path.suffix == ".json"]
    return sorted(int(stem) for stem in numbers if stem.isascii() and stem.isdigit())


def read_version(store: Path, number: int | None = None) -> Version:
    """Read the state at a version, the newest by default.

    Raises
    ------
    StoreNotFoundError
        If there is no store at the path, or no such version in it.
    StoreFormatError
        If a version file is not what the format says.
    """
    numbers = version_numbers(store)
    if not numbers:
        raise StoreNotFoundError(
            f"{store}: no store there" if not store.exists() else f"{store}: a folder that holds no version of a store",
            remedy="Name an existing store, or make one with: featstore extract",
        )
    number = numbers[-1] if number is None else number
    if number not in numbers:
        raise StoreNotFoundError(f"{store}: no version {number}", expected=f"1 to {numbers[-1]}")
    chain = [read_header(store, number)]
    while not chain[-1]["whole"]:
        chain.append(read_header(store, chain[-1]["version"] - 1))
    return _fold(chain[::-1], store)


def read_header(store: Path, number: int) -> dict[str, Any]:
    """Read one version file, checked against its own checksum.

    Raises
    ------
    StoreFormatError
        If it is truncated, damaged, of a later format, or missing.
    """
    path = version_path(store, number)
    try:
        document = json.loads(path.read_bytes())
        body, stated = document["body"], document["sha256"]
        if document["format"] != FORMAT:
            raise StoreFormatError(f"{path}: format {document['format']}", expected=f"format {FORMAT}", remedy=_UPGRADE)
        if hashlib.sha256(canonical_json(body).encode()).hexdigest() != stated:
            raise StoreFormatError(f"{path}: its checksum does not match", remedy=_restore(number))
        if (body["version"], type(body["whole"]), type(body["segments"])) != (number, bool, list):
            raise StoreFormatError(f"{path}: says that it is version {body['version']}", remedy=_restore(number))
    except FileNotFoundError as error:
        raise StoreFormatError(f"{path}: missing", remedy=_restore(number)) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, StoreFormatError):
            raise
        raise StoreFormatError(f"{path}: not readable as a version ({error})", remedy=_restore(number)) from error
    return dict(body)


def commit(store: Path, base: Version, change: Change) -> Version:
    """Create the next version: ``base`` and ``change``, or, where others were faster, theirs and ``change``.

    Raises
    ------
    StoreWriteError
        If the file can't be written.
    RecipeMismatchError
        If another writer made the store with another recipe meanwhile.
    """
    for _ in range(_ATTEMPTS):
        rows = change.rows(base.images)
        state = _apply(base, change, rows)
        body = _body(state, change, rows)
        text = canonical_json(body)
        document = {"format": FORMAT, "sha256": hashlib.sha256(text.encode()).hexdigest(), "body": body}
        if create_exclusively(version_path(store, state.number), canonical_json(document).encode()):
            return state
        base = read_version(store)
        require_recipe(store, base, state.recipe, state.dim, state.dtype)
    raise StoreWriteError(f"{store}: {_ATTEMPTS} other commits came first", remedy="Run the same command again.")


def require_recipe(store: Path, version: Version, recipe: Mapping[str, Any], dim: int, dtype: str) -> None:
    """Refuse a recipe, dimension or type other than the store's, naming the fields that differ.

    Raises
    ------
    RecipeMismatchError
    """
    ours = {"recipe": dict(recipe), "dim": dim, "dtype": dtype}
    theirs = {"recipe": dict(version.recipe), "dim": version.dim, "dtype": version.dtype}
    different = differences(theirs, ours)
    if different:
        fields = "; ".join(f"{path.removeprefix('recipe.')} is {a!r}, asked for {b!r}" for path, a, b in different)
        raise RecipeMismatchError(
            f"{store} was made by another recipe: {fields}",
            expected="the same recipe: embeddings of different ones never mix",
            remedy="Name another store with --store, or take the options it was made with.",
        )


def _apply(base: Version, change: Change, rows: Sequence[ImageRow]) -> Version:
    listed = {entry.file for entry in base.segments}
    new = tuple(entry for entry in change.segments if entry.file not in listed)
    images = {**base.images, **{row.image: row for row in rows}}
    whole = base.number == 0 or base.since_whole + 1 >= WHOLE_EVERY
    since = 0 if whole else base.since_whole + 1
    return Version(base.number + 1, base.recipe, base.dim, base.dtype, base.segments + new, images, since)


def _body(state: Version, change: Change, rows: Sequence[ImageRow]) -> dict[str, Any]:
    whole = state.since_whole == 0
    segments: Sequence[SegmentEntry] = state.segments if whole else change.segments
    images = state.images.values() if whole else rows
    body: dict[str, Any] = {
        "version": state.number,
        "whole": whole,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "operation": change.operation,
        "how": dict(change.how),
        "added": {"rows": sum(entry.rows for entry in change.segments), "images": len(rows)},
        "segments": [asdict(entry) for entry in segments],
        "images": to_columns(images),
    }
    if whole:
        body.update(recipe=dict(state.recipe), fingerprint=state.fingerprint, dim=state.dim, dtype=state.dtype)
    return body


def _fold(chain: Sequence[Mapping[str, Any]], store: Path) -> Version:
    """Add up a whole version and the changes after it."""
    segments: dict[str, SegmentEntry] = {}
    images: ImageTable = {}
    for body in chain:
        path = version_path(store, body["version"])
        try:
            segments.update((entry.file, entry) for entry in (_entry(value, path) for value in body["segments"]))
            images.update((row.image, row) for row in from_columns(body["images"], str(path)))
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreFormatError(f"{path}: not readable as a version ({error})") from error
    first, path = chain[0], version_path(store, chain[0]["version"])
    try:
        recipe, dim, dtype = dict(first["recipe"]), first["dim"], first["dtype"]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreFormatError(f"{path}: not readable as a version ({error})") from error
    if (
        fingerprint_of(recipe) != first["fingerprint"]
        or dtype not in {"float32", "float16"}
        or type(dim) is not int
        or dim < 1
    ):
        raise StoreFormatError(f"{path}: recipe, fingerprint, dim or dtype do not fit together")
    return Version(chain[-1]["version"], recipe, dim, dtype, tuple(segments.values()), images, len(chain) - 1)


def _entry(value: Mapping[str, Any], path: Path) -> SegmentEntry:
    entry = SegmentEntry(**{name: value[name] for name in ("file", "rows", "bytes", "sha256")})
    sizes = type(entry.rows) is int and type(entry.bytes) is int and min(entry.rows, entry.bytes) >= 0
    digest = isinstance(entry.sha256, str) and len(entry.sha256) == 64 and set(entry.sha256) <= set(string.hexdigits)
    if not (sizes and digest and entry.file == f"{entry.sha256[:32]}.h5"):
        raise StoreFormatError(f"{path}: a segment is listed as {dict(value)}", remedy="Restore the file from a copy.")
    return entry


def _restore(number: int) -> str:
    return f"Restore it from a copy, or open an earlier version with: --store-version {max(1, number - 1)}"
