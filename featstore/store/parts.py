"""Checked rows of one image on their way into a segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featstore.errors import DataError
from featstore.store.images import ImageRow
from featstore.store.segments import BLOB_COLUMNS, SegmentRows
from featstore.store.versions import Version

__all__ = ["Part", "joined"]


@dataclass
class Part:
    """Embeddings of one image with their keys, and the boxes of its blobs."""

    row: ImageRow
    blobs: NDArray[np.int32]
    repeats: NDArray[np.int32]
    embeddings: NDArray[np.floating[Any]]
    boxes: NDArray[np.int32]

    @classmethod
    def checked(
        cls, image: str, blobs: ArrayLike, repeats: ArrayLike, embeddings: ArrayLike, boxes: ArrayLike, base: Version
    ) -> Part:
        """Take what a user gave, or refuse it with a `DataError`."""
        vectors = np.asarray(embeddings)
        if not image or not isinstance(image, str):
            raise DataError(f"image is {image!r}", expected="a name")
        b, r = (_counts(values, name, image) for values, name in ((blobs, "blobs"), (repeats, "repeats")))
        if vectors.ndim != 2 or vectors.shape != (len(b), base.dim) or len(r) != len(b):
            raise DataError(
                f"image {image!r}: embeddings of shape {vectors.shape}, {len(b)} blobs, {len(r)} repeats",
                expected=f"embeddings of shape (n, {base.dim}), n blobs and n repeats",
            )
        with np.errstate(over="ignore"):
            stored = vectors.astype(base.dtype)
        if not np.isfinite(stored).all():
            raise DataError(
                f"image {image!r}: an embedding is not finite", expected=f"finite numbers that {base.dtype} can hold"
            )
        part = cls(ImageRow(image), b, r, stored, np.asarray(boxes, dtype=np.int32).reshape(-1, len(BLOB_COLUMNS) - 1))
        if len(part.keys()) != len(b):
            raise DataError(f"image {image!r}: a (blob, repeat) pair is given twice", expected="each key once")
        return part

    def keys(self) -> set[tuple[int, int]]:
        """Tell the (blob, repeat) pairs."""
        return set(zip(self.blobs.tolist(), self.repeats.tolist(), strict=True))


def _counts(values: ArrayLike, name: str, image: str) -> NDArray[np.int32]:
    array = np.asarray(values)
    whole = array.ndim == 1 and (array.dtype.kind in "iu" or array.size == 0)
    if not whole or (array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**31):
        raise DataError(
            f"image {image!r}: {name} of shape {array.shape}, {array.dtype}",
            expected="a list of whole numbers, 0 or more",
        )
    return array.astype(np.int32)


def joined(parts: Sequence[Part], base: Version) -> SegmentRows:
    """Put the parts into one segment, in key order."""
    ordered = sorted(parts, key=lambda part: part.row.image)
    identities = sorted({(part.row.image, *part.row.identity) for part in ordered})
    number = {identity: position for position, identity in enumerate(identities)}
    where = [number[(part.row.image, *part.row.identity)] for part in ordered]
    image = np.repeat(np.array(where, dtype=np.int32), [len(part.blobs) for part in ordered])
    blob = np.concatenate([part.blobs for part in ordered])
    repeat = np.concatenate([part.repeats for part in ordered])
    order = np.lexsort((repeat, blob, image))
    boxes = [
        np.column_stack([np.full(len(p.boxes), w, dtype=np.int32), p.boxes])
        for p, w in zip(ordered, where, strict=True)
    ]
    return SegmentRows(
        embeddings=np.concatenate([part.embeddings for part in ordered])[order],
        image=image[order],
        blob=blob[order],
        repeat=repeat[order],
        names=[name for name, _, _ in identities],
        sha256=[digest for _, digest, _ in identities],
        mask_sha256=[digest for _, _, digest in identities],
        blobs=np.concatenate(boxes).astype(np.int32),
    )
