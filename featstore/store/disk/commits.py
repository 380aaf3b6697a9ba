"""Committing: the next version, whoever else is writing.

A version file is created exclusively. Two writers that reach for the same number can't both have it: the loser reads
what the winner wrote and takes the next.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from featstore.errors import StoreFormatError, StoreWriteError
from featstore.recipe import canonical_json
from featstore.store.disk.columns import ImageTable
from featstore.store.disk.container import FORMAT
from featstore.store.disk.files import create_exclusively, make_folder, plain_errors, remove
from featstore.store.disk.segments import SegmentEntry
from featstore.store.disk.tables import FOLDER as TABLES
from featstore.store.disk.tables import SegmentList, Table, TableEntry, settle, write_table
from featstore.store.disk.versions import (
    FOLDERS,
    SEGMENTS,
    VERSIONS,
    Version,
    newest_number,
    read_version,
    require_recipe,
    version_path,
)
from featstore.store.images import ImageRow, check_row

__all__ = ["Change", "Edit", "commit", "nothing_yet"]

Edit: TypeAlias = Callable[[ImageRow | None], ImageRow]

_ATTEMPTS = 1000


@dataclass(frozen=True)
class Change:
    """What a commit adds: segments and edits of image rows, and how they were made.

    An edit takes an image's row as it is in the version that is built upon (None for a new image) and returns it as it
    is to be. So a commit that comes second changes what it means to change, and keeps what the first one changed.
    Segments in ``replaces`` go; the new ones take the place of the first of them. ``contents`` has the content
    that the rows in the segments belong to, by image. Of the images in ``counts_on`` earlier rows have to be there
    still: where another writer gave one other content, a compaction may have dropped them.
    """

    operation: str
    segments: tuple[SegmentEntry, ...] = ()
    edits: Mapping[str, Edit] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)
    replaces: frozenset[SegmentEntry] = frozenset()
    contents: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    counts_on: frozenset[str] = frozenset()

    def rows(self, base: Version) -> list[ImageRow]:
        """Carry out the edits; rows that come out as they were are not among the result."""
        old = {name: base.image(name) for name in self.edits}
        edited = {name: check_row(edit(old[name])) for name, edit in self.edits.items()}
        return [row for name, row in edited.items() if row != old[name]]


def commit(base: Version, change: Change, rows: Sequence[ImageRow] | None = None, *, rebase: bool = True) -> Version:
    """Create the next version: ``base`` and ``change``, or, where others were faster, theirs and ``change``.

    Parameters
    ----------
    base : Version
    change : Change
    rows : sequence of ImageRow, optional
        What the edits come to on ``base``, where that is known already.
    rebase : bool
        Whether the change makes sense on what others committed meanwhile.

    Raises
    ------
    StoreWriteError
        If a file can't be written, what the change replaces or counts on is no longer there, or others were faster and
        it can't be rebased.
    RecipeMismatchError
        If another writer made the store with another recipe meanwhile.
    """
    store = base.store
    for folder in (VERSIONS, TABLES):
        make_folder(store / folder)
    for _ in range(_ATTEMPTS):
        _touch(store, change.segments)
        if not _is_newest(base):
            if not rebase:
                raise StoreWriteError(f"{store}: another writer was faster", remedy="Name another store.")
            base = _latest(base)
            rows = _rebased_rows(change, base)
        state = _apply(base, change, change.rows(base) if rows is None else rows)
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
            _require_files(state, change.segments)
            return state
    raise StoreWriteError(f"{store}: {_ATTEMPTS} other commits came first", remedy="Run the same command again.")


def _touch(store: Path, segments: Sequence[SegmentEntry]) -> None:
    """Make segments young again, for a vacuum that meets them before the version that lists them is there."""
    for entry in segments:
        with plain_errors(store):
            try:
                os.utime(store / SEGMENTS / entry.file)
            except FileNotFoundError as error:
                raise _taken(store, entry.file) from error


def _is_newest(base: Version) -> bool:
    """Tell whether a version is the newest still: another may have followed, and a vacuum have removed them both."""
    if base.number == 0:
        return not newest_number(base.store)
    return version_path(base.store, base.number).exists() and not version_path(base.store, base.number + 1).exists()


def _latest(base: Version) -> Version:
    """Read the newest version, which others committed meanwhile."""
    newest = read_version(base.store)
    require_recipe(newest, base)
    return newest


def _rebased_rows(change: Change, base: Version) -> list[ImageRow]:
    """Carry out a change's edits on what others committed; the rows that it adds or counts on have to count then."""
    edited = change.rows(base)
    rows = {row.image: row for row in edited}
    for image, identity in change.contents.items():
        kept = image not in change.counts_on or _identity(base.image(image)) == identity
        if not kept or _identity(rows.get(image) or base.image(image)) != identity:
            raise StoreWriteError(
                f"{base.store}: another writer gave image {image!r} other content meanwhile",
                remedy="What was committed stands. Run the same command again.",
            )
    return edited


def _identity(row: ImageRow | None) -> tuple[str, str] | None:
    return row.identity if row else None


def _require_files(state: Version, segments: Sequence[SegmentEntry]) -> None:
    """Look once more for the files of a version: a vacuum without a time of grace may just have taken one."""
    store, path = state.store, version_path(state.store, state.number)
    paths = [store / SEGMENTS / entry.file for entry in segments]
    missing = [path for path in [*paths, *(store / TABLES / entry.file for entry in state.tables)] if not path.exists()]
    if not missing:
        return
    if newest_number(store) == state.number:
        remove([path])
    if newest_number(store) > state.number:
        raise StoreWriteError(
            f"{missing[0]}: a vacuum took it while version {state.number} was committed, and others have built on that",
            remedy=f"Restore the store from a copy, or delete {path} and the later ones, which can't be read.",
        )
    raise _taken(store, missing[0].name)


def _taken(store: Path, name: str) -> StoreWriteError:
    return StoreWriteError(
        f"{store}: {name} is gone, a vacuum took it before it was committed",
        remedy="Run the same command again, and give vacuum a longer time of grace.",
    )


def nothing_yet(store: Path, recipe: Mapping[str, Any], dim: int, dtype: str) -> Version:
    """Begin a store: the state before its first version.

    Raises
    ------
    StoreFormatError
        If something else is in the folder.
    """
    if store.is_file():
        raise StoreFormatError(f"{store}: a file", expected="a folder, or nothing yet")
    there = [path.name for path in store.iterdir()] if store.is_dir() else []
    others = sorted(name for name in there if name not in FOLDERS and not name.startswith("."))  # .DS_Store is none
    if others:
        raise StoreFormatError(
            f"{store}: a folder that holds {others[0]!r} and no store", expected="a folder that is not there yet"
        )
    return Version(store, 0, recipe, dim, dtype)


def _apply(base: Version, change: Change, rows: Sequence[ImageRow]) -> Version:
    new = Table(SegmentList.of(change.segments), ImageTable.from_rows(rows))
    tables: tuple[TableEntry, ...]
    if change.replaces:
        tables = (write_table(base.store, _replaced(base, change, new), base.fingerprint),)
    else:
        tables = settle(base.store, base.fingerprint, base.tables, new, base.known)
    log = {
        "version": base.number + 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "operation": change.operation,
        "how": dict(change.how),
        "added": {"rows": sum(entry.rows for entry in change.segments), "images": len(rows)},
    }
    known = {entry: base.known[entry] for entry in tables if entry in base.known}
    return Version(base.store, base.number + 1, base.recipe, base.dim, base.dtype, tables, log, known)


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
