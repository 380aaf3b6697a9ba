"""Writing a store: rows are gathered into segments, and a commit makes them part of the next version."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError, SettingError, StoreNotFoundError
from featstore.recipe import canonical_json
from featstore.store.disk.commits import Change, Edit, commit, nothing_yet
from featstore.store.disk.segments import SEGMENT_BYTES, SegmentEntry
from featstore.store.disk.versions import SEGMENTS, Version, read_version, require_recipe
from featstore.store.images import ImageRow, check_row, merged
from featstore.store.index import KeyIndex
from featstore.store.pending import Pending, Rows

__all__ = ["StoreWriter", "create_store"]


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
    canonical_json({"recipe": plain, "operation": operation})
    if dim < 1 or dtype not in {"float32", "float16"}:
        raise SettingError(f"dim is {dim}, dtype {dtype!r}", expected="dim of 1 or more, float32 or float16")
    try:
        base = read_version(folder)
        require_recipe(base, Version(folder, 0, plain, dim, dtype))
    except StoreNotFoundError:
        base = nothing_yet(folder, plain, dim, dtype)
    return StoreWriter(base, operation)


class StoreWriter:
    """Appends to a store; made by `create_store`."""

    def __init__(self, base: Version, operation: str) -> None:
        self.path = base.store
        self.operation = operation
        self.how: dict[str, Any] = {}
        self._base = self._opened = base
        self._mine: dict[str, set[tuple[int, int]]] = {}
        self._rows: dict[str, ImageRow] = {}
        self._edits: dict[str, list[Edit]] = {}
        self._positions = count(sum(table.images for table in base.tables))
        self._touched: set[str] = set()
        self._pending = self._none_pending()
        self._segments: list[Future[SegmentEntry]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self._pending.discard()

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
        return KeyIndex.build(self._opened.read_segments(), self._opened.images, everything=True)

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
        row = check_row(ImageRow(image, **facts))
        self._edit(image, lambda old: merged(old, row) if old else row)

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
        rows = Rows.checked(image, blobs, repeats, boxes)
        stored = self._pending.check(image, len(rows.blobs), embeddings)
        current = self._current(image) or ImageRow(image)
        identity = current.identity if facts is None else ImageRow(image, **facts).identity
        taken = self.stored(image, identity) & rows.keys
        if taken:
            blob, repeat = min(taken)
            raise DataError(
                f"{self.path}: embedding (image {image!r}, blob {blob}, repeat {repeat}) is there already",
                expected="each key once",
            )
        if facts is None:
            self._edit(image, self._said(image, rows, label=label, split=split, group=group))
        else:
            self.register(image, **facts)
        if len(stored):
            self._keep(image, identity, rows, stored)

    def commit(self) -> int:
        """Make what was added part of the next version and return its number; without anything new, no version.

        Raises
        ------
        DataError
            If an image would have embeddings and no clean one (repeat 0) among them.
        StoreWriteError
            If it can't be written; what was committed before stands.
        """
        self._require_clean()
        self._write_segment()
        segments = tuple(segment.result() for segment in self._segments)
        if not segments and not self._rows and self._base.number:
            return self._base.number
        edits = {image: partial(_in_turn, steps) for image, steps in self._edits.items()}
        change = Change(self.operation, segments, edits, self.how)
        self._base = commit(self._base, change, list(self._rows.values()))
        self._segments, self._rows, self._edits, self._touched = [], {}, {}, set()
        return self._base.number

    def _current(self, image: str) -> ImageRow | None:
        return self._rows.get(image) or self._base.images.get(image)

    def _edit(self, image: str, edit: Edit) -> None:
        """Change an image's row, here and again in the version that is built upon when this is committed."""
        old = self._current(image)
        new = check_row(edit(old))
        if new == old:
            return
        if old is not None and old.identity != new.identity and self._mine.pop(image, set()):
            self._write_segment()  # a key is once in a segment, also when old content comes back
        self._rows[image] = new
        self._edits.setdefault(image, []).append(edit)

    def _said(self, image: str, rows: Rows, **said: str | None) -> Edit:
        """Make the edit of what a user says of an image; what is not said stays."""
        position = next(self._positions)
        blobs = int(rows.blobs.max(initial=-1)) + 1

        given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}

        def edit(old: ImageRow | None) -> ImageRow:
            if old is None:
                return ImageRow(image, sample_index=image, position=position, blobs=blobs, **given)
            return replace(old, blobs=max(old.blobs, blobs), **given)

        return edit

    def _keep(self, image: str, identity: tuple[str, str], rows: Rows, embeddings: NDArray[np.floating[Any]]) -> None:
        if not self._pending.has_room(len(embeddings)):
            self._write_segment()
        self._pending.add((image, *identity), rows, embeddings)
        self._mine.setdefault(image, set()).update(rows.keys)
        self._touched.add(image)

    def _require_clean(self) -> None:
        for image in self._touched:
            row = self._current(image)
            if row and not any(repeat == 0 for _, repeat in self.stored(image, row.identity)):
                raise DataError(
                    f"image {image!r} has augmented repeats only", expected="its clean embedding too, repeat 0"
                )

    def _none_pending(self) -> Pending:
        return Pending(self.path / SEGMENTS, self._base.dim, self._base.dtype, SEGMENT_BYTES)

    def _write_segment(self) -> None:
        """Let what is pending become a segment, on a thread; a commit waits for it."""
        if not len(self._pending):
            return
        thread = ThreadPoolExecutor(1)
        folder, fingerprint = self.path / SEGMENTS, self._base.fingerprint
        self._segments.append(thread.submit(self._pending.write_segment, folder, fingerprint))
        thread.shutdown(wait=False)
        self._pending = self._none_pending()


def _in_turn(steps: list[Edit], row: ImageRow | None) -> ImageRow:
    """Carry out the edits of one image, the first first."""
    first, *others = steps
    edited = first(row)
    for step in others:
        edited = step(edited)
    return edited
