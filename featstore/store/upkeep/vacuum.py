"""Tidying a store: many small segments into few, versions that nobody needs any more, litter of killed writers."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from featstore.errors import SettingError
from featstore.store.disk.files import TEMPORARY, remove
from featstore.store.disk.tables import FOLDER as TABLES
from featstore.store.disk.tables import read_table
from featstore.store.disk.versions import (
    FOLDERS,
    SEGMENTS,
    VERSIONS,
    read_version,
    version_numbers,
    version_path,
)
from featstore.store.upkeep.compaction import compact as write_anew

__all__ = ["GRACE_S", "Vacuum", "vacuum"]

GRACE_S = 86400.0
"""What is younger may belong to a writer that has not committed yet, or to a reader that opened the version before."""

_OURS = re.compile(r"[0-9a-f]{32}\.h5")


@dataclass
class Vacuum:
    """What a vacuum did, or would do.

    Attributes
    ----------
    applied : bool
    version : int
        The newest version, after it.
    segments_before, segments : int
        Number of segments in the newest version, before and after.
    compacted : bool
        Whether there was anything to compact.
    versions : list of int
        Versions that go.
    staying : int
        Number of versions that stay.
    files : list of Path
        Files that go, version files among them.
    bytes : int
        Their size.
    waiting : int
        Files that would go but for the time of grace.
    """

    applied: bool
    version: int
    segments_before: int
    segments: int
    compacted: bool = False
    versions: list[int] = field(default_factory=list)
    staying: int = 0
    files: list[Path] = field(default_factory=list)
    bytes: int = 0
    waiting: int = 0


def vacuum(
    path: str | Path,
    *,
    apply: bool = False,
    grace_s: float = GRACE_S,
    keep_versions: int | None = None,
    compact: bool = False,
) -> Vacuum:
    """Remove what no version needs: files of killed writers, and, on request, old versions and what only they need.

    Parameters
    ----------
    path : str or Path
        Folder of the store.
    apply : bool
        Do it; by default only tell what would be done.
    grace_s : float
        What is younger stays, in seconds: a writer may be about to commit it. A version is as old as the one after it.
        With less than an hour, a writer that is about to commit may lose its work: what it had not committed yet.
    keep_versions : int, optional
        Versions to keep, the newest first; all by default.
    compact : bool
        First write small segments, and those of whose rows few still count, anew as few large ones, in a version of
        their own. Space is freed when the versions before it go.

    Returns
    -------
    Vacuum

    Raises
    ------
    StoreFormatError
        If a version can't be read: what it needs is then not known, and nothing is removed.
    StoreWriteError
        If something can't be written or removed.
    """
    if not grace_s >= 0 or (keep_versions is not None and keep_versions < 1):
        raise SettingError(f"grace_s {grace_s}, keep_versions {keep_versions}", expected="0 or more, and 1 or more")
    store = Path(path)
    newest = read_version(store)
    done = Vacuum(apply, newest.number, len(newest.segments), len(newest.segments))
    if compact and (compacted := write_anew(newest, apply=apply)):
        done.compacted, (done.segments, done.version) = True, compacted
    before = time.time() - grace_s
    numbers = version_numbers(store)
    done.versions = _expired(store, numbers, keep_versions or len(numbers), before)
    done.staying = len(numbers) - len(done.versions)
    needed = _needed(store, [number for number in numbers if number not in set(done.versions)])
    litter = [file for file in _files(store) if file.path not in needed]
    old = [file for file in litter if file.modified <= before]
    done.waiting = len(litter) - len(old)
    going = [*_seen(version_path(store, number) for number in done.versions), *old]
    done.files = [file.path for file in going]
    done.bytes = sum(file.size for file in going)
    if apply:
        remove(file.path for file in going if file.is_unchanged())
    return done


@dataclass(frozen=True)
class _Seen:
    """A file as it was when it was looked at."""

    path: Path
    modified: float
    size: int
    inode: int

    def is_unchanged(self) -> bool:
        """Tell whether it is the same file still: a writer may have written it again, and committed it."""
        return [self] == list(_seen([self.path]))


def _seen(paths: Iterable[Path]) -> Iterator[_Seen]:
    """Look at files; those that are gone already, by another vacuum, are passed over."""
    for path in paths:
        with suppress(FileNotFoundError):
            facts = path.stat(follow_symlinks=False)
            yield _Seen(path, facts.st_mtime, facts.st_size, facts.st_ino)


def _expired(store: Path, numbers: list[int], keep: int, before: float) -> list[int]:
    """Choose the oldest versions that are beyond those to keep; a version is as old as the one after it."""
    expired = []
    for number, following in pairwise(numbers[: max(0, len(numbers) - keep + 1)]):
        if any(file.modified > before for file in _seen([version_path(store, following)])):
            break
        expired.append(number)
    return expired


def _needed(store: Path, numbers: Iterable[int]) -> set[Path]:
    """Collect the files that versions list; each table is read once."""
    versions = [read_version(store, number) for number in numbers]
    tables = {table: version.fingerprint for version in versions for table in version.tables}
    segments = (read_table(store, table, fingerprint).segments.entries() for table, fingerprint in tables.items())
    listed = {store / SEGMENTS / segment.file for part in segments for segment in part}
    return listed | {store / TABLES / table.file for table in tables}


def _files(store: Path) -> Iterator[_Seen]:
    """List files of ours that could be litter; what featstore did not write is not touched."""
    for folder in FOLDERS:
        if (store / folder).is_dir() and not (store / folder).is_symlink():  # a link may lead into another store
            for entry in sorted(os.scandir(store / folder), key=lambda entry: entry.name):
                ours = entry.name.startswith(TEMPORARY) or (folder != VERSIONS and _OURS.fullmatch(entry.name))
                if ours and entry.is_file(follow_symlinks=False):
                    yield from _seen([store / folder / entry.name])
