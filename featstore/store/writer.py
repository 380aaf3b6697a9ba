"""Writing a store: rows are gathered into segments, and a commit makes them part of the next version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import count
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError, StoreWriteError
from featstore.store.disk.commits import Change, commit
from featstore.store.disk.segments import SEGMENT_BYTES, SegmentEntry
from featstore.store.disk.versions import SEGMENTS, Version
from featstore.store.edits import Edits, become, become_unless_replaced, say
from featstore.store.images import ImageRow, check_row
from featstore.store.index import KeyIndex
from featstore.store.pending import Pending
from featstore.store.rows import Added, Identity, Rows, checked_embeddings
from featstore.store.scales import own_blobs

__all__ = ["StoreWriter"]


class StoreWriter:
    """Appends to a store; made by `create_store`."""

    def __init__(self, base: Version, operation: str) -> None:
        self.path = base.store
        self.operation = operation
        self.how: dict[str, Any] = {}
        self._base = self._opened = base
        self._added, self._committed = Added(), Added()
        self._edits = Edits(base)
        self._positions = count(sum(table.images for table in base.tables))
        self._pending = self._none_pending()
        self._segments: list[Future[SegmentEntry]] = []
        self._replaced: set[tuple[str, Identity]] = set()
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._end()
            return
        try:
            self.commit()
        except BaseException:
            self._end()
            raise

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

    def stored(self, image: str, identity: Identity) -> set[tuple[int, int]]:
        """Tell the (blob, repeat) pairs there for an image of this content, those not yet committed among them.

        What was committed counts while the image has this content: a compaction drops rows of other content.
        """
        there, known = self._added.keys(image, identity), self._base.image(image)
        if known is None or known.identity != identity:
            return there
        there |= self._committed.keys(image, identity)
        opened = self._opened.image(image)
        if opened is None or opened.identity != identity or (image, identity) in self._replaced:
            return there
        return there | self._index.keys_of(image)

    def own_blobs(self, images: Iterable[str]) -> int:
        """Count blobs of images that are used, and not their crops at other scales, as of this writer's last commit."""
        return own_blobs(self._base.read_segments(), self._base.images, images)

    def register(self, image: str, **facts: Any) -> None:
        """Note what is known of an image (fields of `ImageRow`); with new content, its old rows no longer count.

        A label, split or group that was changed in the store stays where ``given`` is the same as before: where the
        data still say what they said. Where another writer gave the image other content before this is committed, what
        that one says stands.
        """
        self._require_open()
        row = check_row(ImageRow(image, **facts))
        self._edits.edit(image, become_unless_replaced(row, self._edits.current(image)))

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
        new: Mapping[str, Any] | None = None,
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
        new : mapping, optional
            What to say of the image (fields of `ImageRow`) if it is new, besides label, split and group.
        boxes : array-like of shape (n_blobs, 6) or (n_blobs, 8), int
            Of each blob cropped: number, area_px, x0, y0, x1, y1; and for crops that are not their blob's own the scale
            (0 for a tile) and the number of the blob that they belong to.

        Raises
        ------
        DataError
            If shapes don't fit, a number is not finite, or a key is there already.
        """
        self._require_open()
        rows = Rows.checked(image, blobs, repeats, boxes)
        stored = checked_embeddings(image, embeddings, (len(rows), self._base.dim), np.dtype(self._base.dtype))
        current = self._edits.current(image) or ImageRow(image)
        identity = current.identity if facts is None else ImageRow(image, **facts).identity
        there = self.stored(image, identity)
        if there and (taken := there & rows.keys):
            blob, repeat = min(taken)
            raise DataError(
                f"{self.path}: embedding (image {image!r}, blob {blob}, repeat {repeat}) is there already",
                expected="each key once",
            )
        if facts is None:
            said = {"label": label, "split": split, "group": group}
            blobs = int(rows.blobs.max(initial=-1)) + 1
            self._edits.edit(image, say(image, said, blobs, {"position": next(self._positions), **(new or {})}))
        else:
            self._edits.edit(image, become(check_row(ImageRow(image, **facts))))
        if len(rows):
            self._keep(image, identity, rows, stored)

    def commit(self) -> int:
        """Make what was added part of the next version and return its number; without anything new, no version.

        Raises
        ------
        DataError
            If an image would have embeddings and no clean one (repeat 0) among them.
        StoreWriteError
            If it can't be written, or another writer gave an image other content meanwhile; what was committed before
            stands. Rows of a segment that could not be written are lost: this writer can't commit any more then.
        """
        self._require_open()
        contents = self._contents()
        counted_on = self._counted_on(contents)
        self._write_segment()
        segments = tuple(segment.result() for segment in self._segments)
        if not segments and not self._edits and self._base.number:
            return self._base.number
        edits = self._edits.combined()
        change = Change(self.operation, segments, edits, self.how, contents=contents, counts_on=counted_on)
        before, self._base = self._base, commit(self._base, change, list(self._edits.rows.values()))
        if self._base.number == before.number + 1:
            self._forget_replaced(before)
            self._committed.update(self._added)
        else:
            self._open_anew()
        self._added, self._segments, self._edits = Added(), [], Edits(self._base)
        return self._base.number

    def _open_anew(self) -> None:
        """Count on what is there now: others have committed, or compacted, meanwhile."""
        self._opened = self._base
        self.__dict__.pop("_index", None)
        self._committed, self._replaced = Added(), set()

    def _forget_replaced(self, before: Version) -> None:
        """Count no longer on rows of content that was just replaced: a compaction may drop them from now on."""
        for image, row in self._edits.rows.items():
            old = before.image(image)
            if old and old.identity != row.identity:
                self._replaced.add((image, old.identity))
                self._committed.drop(image, old.identity)

    def _keep(self, image: str, identity: Identity, rows: Rows, embeddings: NDArray[np.floating[Any]]) -> None:
        if not self._pending.has_room(len(embeddings)):
            self._write_segment()
        self._pending.add((image, *identity), rows, embeddings)
        self._added.add(image, identity, rows)

    def _end(self) -> None:
        self._ended = True
        self._pending.discard()

    def _require_open(self) -> None:
        if self._ended:
            raise StoreWriteError(
                f"{self.path}: this writer ended when its block raised",
                remedy="Open the store again: create_store(...).",
            )

    def _contents(self) -> dict[str, Identity]:
        """Tell the content of images with new rows that count."""
        current = ((image, identity, self._edits.current(image)) for image, identity in self._added)
        return {image: identity for image, identity, row in current if row and row.identity == identity}

    def _counted_on(self, contents: Mapping[str, Identity]) -> frozenset[str]:
        """Tell the images whose clean row was committed before; one that has none is refused."""
        earlier = [item for item in contents.items() if not self._added.has_clean(*item)]
        for image, identity in earlier:
            if not any(repeat == 0 for _, repeat in self.stored(image, identity)):
                raise DataError(
                    f"image {image!r} has augmented repeats only", expected="its clean embedding too, repeat 0"
                )
        return frozenset(image for image, _ in earlier)

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
