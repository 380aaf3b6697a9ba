"""Writing a store: rows are gathered into segments, and a commit makes them part of the next version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike

from featstore.errors import DataError, SettingError, StoreFormatError, StoreNotFoundError
from featstore.recipe import canonical_json
from featstore.store.files import make_folder
from featstore.store.images import ImageRow, merged
from featstore.store.index import KeyIndex
from featstore.store.parts import Part, joined
from featstore.store.segments import SegmentEntry, write_segment
from featstore.store.versions import Change, Version, commit, read_version, require_recipe

__all__ = ["StoreWriter", "create_store"]

SEGMENT_BYTES = 64 * 2**20


def create_store(
    path: str | Path, recipe: Mapping[str, Any], dim: int, *, dtype: str = "float32", operation: str = "add"
) -> StoreWriter:
    """Make a store, or open it for appending when its recipe is the same.

    Parameters
    ----------
    path : str or Path
        Folder of the store; ``NAME.store`` by custom.
    recipe : mapping
        What the embeddings are: anything that JSON can hold.
    dim : int
        Length of an embedding.
    dtype : {"float32", "float16"}
        How embeddings are stored.
    operation : str
        A word for the log.

    Returns
    -------
    StoreWriter
        A context manager: what was added is committed at the end of the ``with``, nothing of it if the block raises.

    Raises
    ------
    RecipeMismatchError
        If the store there has another recipe, dimension or type; the message names the fields.
    StoreWriteError
        If it can't be made.
    """
    folder, plain = Path(path), dict(recipe)
    canonical_json(plain)
    if dim < 1 or dtype not in {"float32", "float16"}:
        raise SettingError(f"dim is {dim}, dtype {dtype!r}", expected="dim of 1 or more, float32 or float16")
    if folder.is_file():
        raise StoreFormatError(f"{folder}: a file", expected="a folder, or nothing yet")
    try:
        base = read_version(folder)
        require_recipe(folder, base, plain, dim, dtype)
    except StoreNotFoundError:
        base = Version(0, plain, dim, dtype)
    return StoreWriter(folder, base, operation)


class StoreWriter:
    """Appends to a store; made by `create_store`."""

    def __init__(self, folder: Path, base: Version, operation: str) -> None:
        self.path = folder
        self.operation = operation
        self.how: dict[str, Any] = {}
        self.added = 0
        self._base = self._opened = base
        self._mine: dict[str, set[tuple[int, int]]] = {}
        self._rows: dict[str, ImageRow] = {}
        self._buffer: list[Part] = []
        self._buffered_bytes = 0
        self._segments: list[SegmentEntry] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()

    @property
    def version(self) -> int:
        """Number of the newest version that this writer knows of, 0 before the first commit."""
        return self._base.number

    @property
    def images(self) -> Mapping[str, ImageRow]:
        """Image rows as of this writer's last commit."""
        return self._base.images

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex.build(self.path, self._opened)

    def stored(self, image: str, identity: tuple[str, str]) -> set[tuple[int, int]]:
        """Tell the (blob, repeat) pairs there for an image of this content, those not yet committed among them."""
        current = self._current(image)
        if current is None or current.identity != identity:
            return set()
        opened = self._opened.images.get(image)
        there = self._index.keys_of(image) if opened and opened.identity == identity else set()
        return there | self._mine.get(image, set())

    def register(self, image: str, **facts: Any) -> None:
        """Note what is known of an image (fields of `ImageRow`); with new content, its old rows no longer count.

        A label, split or group that was changed in the store stays until the data say something new.
        """
        row, old = ImageRow(image, **facts), self._current(image)
        self._note(merged(old, row) if old else row)

    def _note(self, row: ImageRow) -> None:
        old = self._current(row.image)
        if old is not None and old.identity != row.identity:
            self._mine.pop(row.image, None)
            self._buffer = [part for part in self._buffer if part.row.image != row.image]
        if row != old:
            self._rows[row.image] = row

    def add(
        self,
        image: str,
        blobs: ArrayLike,
        repeats: ArrayLike,
        embeddings: ArrayLike,
        *,
        label: str | None = None,
        split: str | None = None,
        group: str | None = None,
        facts: Mapping[str, Any] | None = None,
        boxes: ArrayLike = (),
    ) -> None:
        """Add embeddings of one image.

        Parameters
        ----------
        image : str
        blobs, repeats : array-like of shape (n,), int
        embeddings : array-like of shape (n, dim)
        label, split, group : str, optional
            Kept from earlier where not given; a new image goes into ``train``.
        facts : mapping, optional
            All that is known of the image (fields of `ImageRow`), instead of label, split and group.
        boxes : array-like of shape (n_blobs, 6), int
            Of each blob cropped: number, area_px, x0, y0, x1, y1.

        Raises
        ------
        DataError
            If shapes don't fit, a number is not finite, or a key is there already.
        """
        part = Part.checked(image, blobs, repeats, embeddings, boxes, self._base)
        row = self._row(image, label, split, group, part) if facts is None else ImageRow(image, **facts)
        stored = self.stored(image, row.identity)
        taken = stored & part.keys()
        if taken:
            blob, repeat = min(taken)
            raise DataError(
                f"{self.path}: embedding (image {image!r}, blob {blob}, repeat {repeat}) is there already",
                expected="each key once",
            )
        if facts is None:
            self._note(row)
        else:
            self.register(image, **facts)
        part.row = row
        if not len(part.blobs):
            return
        self._mine.setdefault(image, set()).update(part.keys())
        self._buffer.append(part)
        self._buffered_bytes += part.embeddings.nbytes
        self.added += len(part.blobs)
        if self._buffered_bytes >= SEGMENT_BYTES:
            self._write_segment()

    def commit(self) -> int:
        """Make what was added part of the next version and return its number; without anything new, no version.

        Raises
        ------
        StoreWriteError
            If it can't be written; what was committed before stands.
        """
        self._write_segment()
        if not self._segments and not self._rows and self._base.number:
            return self._base.number
        for name in ("versions", "segments"):
            make_folder(self.path / name)
        change = Change(self.operation, tuple(self._segments), tuple(self._rows.values()), self.how)
        self._base = commit(self.path, self._base, change)
        self._segments, self._rows = [], {}
        return self._base.number

    def _current(self, image: str) -> ImageRow | None:
        return self._rows.get(image) or self._base.images.get(image)

    def _row(self, image: str, label: str | None, split: str | None, group: str | None, part: Part) -> ImageRow:
        """Make the image's row from what it was and what its user says of it now."""
        if split not in {None, "train", "test"}:
            raise SettingError(f"split is {split!r}", expected="train or test")
        position = len(self._base.images.keys() | self._rows.keys())
        start = self._current(image) or ImageRow(image, sample_index=image, position=position)
        blobs = {blob for blob, _ in self.stored(image, start.identity) | part.keys()}
        given: dict[str, Any] = {"label": label, "split": split, "group": group}
        return replace(start, blobs=len(blobs), **{name: value for name, value in given.items() if value is not None})

    def _write_segment(self) -> None:
        if not self._buffer:
            return
        make_folder(self.path / "segments")
        self._segments.append(
            write_segment(self.path / "segments", joined(self._buffer, self._base), self._base.fingerprint)
        )
        self._buffer, self._buffered_bytes = [], 0
