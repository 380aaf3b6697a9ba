"""Looking at everything in a store: structure, checksums, keys, counts, numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from featstore.errors import FeatstoreError, StoreNotFoundError
from featstore.store.disk.columns import ImageTable
from featstore.store.disk.container import Container, read_container
from featstore.store.disk.segments import Segment, SegmentEntry, segment_of
from featstore.store.disk.tables import FOLDER as TABLES
from featstore.store.disk.tables import TableEntry, read_table
from featstore.store.disk.versions import SEGMENTS, VERSIONS, Version, read_version, version_numbers, version_path
from featstore.store.index import KeyIndex
from featstore.store.packed import read_packed
from featstore.store.runs import pieces

__all__ = ["Problem", "Verification", "verify"]

_CHUNK_BYTES = 2**24

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """What is wrong, and with which file."""

    file: str
    found: str


@dataclass
class Verification:
    """What was looked at, and what is wrong.

    Attributes
    ----------
    versions, segments, embeddings : int
        How many were looked at; embeddings are counted in each segment.
    problems : list of Problem
    """

    versions: int = 0
    segments: int = 0
    embeddings: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def read(self, file: Path, read: Callable[[], T]) -> T | None:
        """Read a file; an error is taken down, and nothing returned."""
        try:
            return read()
        except FeatstoreError as error:
            self.problems.append(Problem(str(file), str(error)))
            return None

    def note(self, file: Path, found: Iterable[str]) -> None:
        """Take down problems of a file; an error that ends the search is one of them."""
        try:
            self.problems.extend(Problem(str(file), text) for text in found)
        except StoreNotFoundError:
            raise
        except FeatstoreError as error:
            self.problems.append(Problem(str(file), str(error)))


def verify(path: str | Path, version: int | None = None) -> Verification:
    """Look at every version of a store and, byte by byte, at every file that one of them lists.

    Files are parsed by HDF5 only once their checksums were found right.

    Parameters
    ----------
    path : str or Path
        A store's folder, or a packed store.
    version : int, optional
        Only this version and what it lists; all by default.

    Returns
    -------
    Verification

    Raises
    ------
    StoreNotFoundError
        If there is no store, or no such version.
    """
    place, done = Path(path), Verification()
    if place.is_file():
        done.note(place, _packed_problems(place, version, done))
    else:
        _verify_folder(place, version, done)
    return done


def _verify_folder(store: Path, version: int | None, done: Verification) -> None:
    """Look at versions, then once at each table that they list, and at each segment that those list."""
    numbers = version_numbers(store)
    wanted = numbers if version is None and numbers else [read_version(store, version).number]
    missing = sorted(set(range(wanted[0], wanted[-1] + 1)) - set(numbers))
    done.note(store / VERSIONS, (f"version {number} is missing" for number in missing))
    done.versions += len(wanted)
    read = (done.read(version_path(store, number), partial(read_version, store, number)) for number in wanted)
    states = [state for state in read if state is not None]
    for state in states:
        if state.fingerprint != states[0].fingerprint:
            done.note(version_path(store, state.number), ["its recipe is not that of the versions before"])
    tables = {entry: state for state in states for entry in state.tables}
    segments: dict[SegmentEntry, Version] = {}
    for table, owner in tables.items():
        done.note(store / TABLES / table.file, _table_problems(owner, table, segments))
    for segment, owner in segments.items():
        done.note(store / SEGMENTS / segment.file, _segment_problems(owner, segment, done))
    if done.ok and states:
        done.note(version_path(store, states[-1].number), _key_problems(states[-1].read_segments(), states[-1].images))


def _table_problems(state: Version, entry: TableEntry, segments: dict[SegmentEntry, Version]) -> Iterator[str]:
    """Look at a table, and note the segments that it lists."""
    table = read_table(state.store, entry, state.fingerprint)
    segments.update((listed, state) for listed in table.segments.entries())
    yield from _structure_problems(read_container(state.store / TABLES / entry.file, "table", entry))


def _segment_problems(state: Version, entry: SegmentEntry, done: Verification) -> Iterator[str]:
    container = read_container(state.store / SEGMENTS / entry.file, "segment", entry)
    segment = segment_of(container, entry.rows, fingerprint=state.fingerprint, dim=state.dim)
    yield from _content_problems(segment, container, done)


def _packed_problems(path: Path, version: int | None, done: Verification) -> Iterator[str]:
    done.versions += 1
    state = read_packed(path, version)
    yield from _content_problems(state.segment, read_container(path, "store"), done)
    yield from _key_problems([state.segment], state.images)


def _structure_problems(container: Container) -> Iterator[str]:
    from featstore.store.upkeep.structure import structure_problems  # loads HDF5, which reading does without

    yield from structure_problems(container)


def _content_problems(segment: Segment, container: Container, done: Verification) -> Iterator[str]:
    """Look at a file's structure, at the order of its keys, and at each of its numbers."""
    done.segments += 1
    done.embeddings += len(segment.image)
    yield from _structure_problems(container)
    keys = np.stack([segment.image, segment.blob, segment.repeat]).astype(np.int64)
    order = np.lexsort(keys[::-1])
    if (np.diff(keys[:, order], axis=1) == 0).all(axis=0).any():
        yield "a key is there twice"
    source = segment.embeddings
    for piece in pieces(len(segment.image), source.row_bytes, _CHUNK_BYTES):
        rows = np.arange(piece.start, piece.stop)
        values = np.empty((len(rows), source.shape[1]), dtype=source.dtype)
        source.read(rows, values, slice(0, len(rows)), every_sum=True)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            yield f"embedding {int(rows[~finite][0])} is not finite"
            return


def _key_problems(segments: list[Segment], images: ImageTable) -> Iterator[str]:
    """Look for images that have rows and no clean one."""
    index = KeyIndex.build(segments, images, everything=True)
    clean = np.zeros(len(index.names), dtype=np.bool_)
    clean[index.image[index.repeat == 0]] = True
    for place in np.flatnonzero(~clean).tolist():
        yield f"image {index.names[place]!r} has no clean embedding (repeat 0)"
