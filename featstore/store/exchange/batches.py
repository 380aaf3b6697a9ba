"""What goes from a file into a store: headers, chunks of a table's rows, and batches of one image's rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.store.runs import run_starts

__all__ = [
    "BOX_COLUMNS",
    "COUNTS",
    "SCALE_COLUMNS",
    "TEXTS",
    "Batch",
    "Chunk",
    "Header",
    "Options",
    "Source",
    "batches_of",
    "unique_boxes",
]

BOX_COLUMNS = ("area_px", "x0", "y0", "x1", "y1")
SCALE_COLUMNS = ("blob_scale", "blob_parent")
"""Beside the box, where crops are of several scales: `Store.blobs` calls them ``scale`` and ``parent``."""

COUNTS = ("blob", "repeat", *BOX_COLUMNS, *SCALE_COLUMNS)
TEXTS = ("sample_index", "label", "split", "group")


@dataclass(frozen=True)
class Source:
    """A file to import; ``image`` is the key of its image where the format has one image a file."""

    path: Path
    image: str


@dataclass(frozen=True)
class Options:
    """What a user says of the files.

    Attributes
    ----------
    columns : mapping
        For fields that go by another name, the name.
    tile_px : int or None
        Side of a tile, for files that don't say.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    tile_px: int | None = None

    def name(self, wanted: str) -> str:
        """Tell what the files call a field."""
        return self.columns.get(wanted, wanted)

    def require_named(self, there: Iterable[str], path: Path) -> None:
        """Refuse a file without a column that was named: nothing else can be meant by it.

        Raises
        ------
        DataError
        """
        names = list(there)
        for wanted, name in self.columns.items():
            if name not in names:
                found = ", ".join(names[:10]) or "none"
                raise DataError(f"{path}: no {name!r} to take for {wanted}", expected=f"one of those there: {found}")


@dataclass(frozen=True)
class Header:
    """What a file is, before its rows are read.

    Attributes
    ----------
    rows, dim : int
    dtype : str
        ``float16`` or ``float32``: how its embeddings are stored without loss, or nearly so.
    encoder : str
        As the file names it, or empty.
    facts : dict
        What it says of how embeddings came about, for the recipe.
    recipe : dict or None
        Of the store that featstore exported it from.
    """

    rows: int
    dim: int
    dtype: str
    encoder: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Batch:
    """Rows of one image; what the file doesn't say is None or empty."""

    image: str
    embeddings: NDArray[Any]
    blob: NDArray[np.int32] | None = None
    repeat: NDArray[np.int32] | None = None
    boxes: NDArray[np.int32] | None = None
    sample_index: str = ""
    label: str = ""
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a table.

    Attributes
    ----------
    embeddings : ndarray of shape (n, dim)
    image : ndarray of shape (n,), str
    counts : dict of str to ndarray of shape (n,), int32
        ``blob`` and ``repeat``, and the columns of a box, as far as the table has them.
    texts : dict of str to ndarray of shape (n,), str
        ``sample_index``, ``label``, ``split`` and ``group``, as far as the table has them.
    """

    embeddings: NDArray[Any]
    image: NDArray[np.object_]
    counts: Mapping[str, NDArray[np.int32]]
    texts: Mapping[str, NDArray[np.object_]]


def batches_of(chunks: Iterable[Chunk], path: Path) -> Iterator[Batch]:
    """Take chunks apart by image, the rows of each in their order.

    Raises
    ------
    DataError
        If rows of one image say different things of it.
    """
    for chunk in chunks:
        for image, rows in _rows_by_image(chunk.image).items():
            texts = {name: _one(values[rows], name, image, path) for name, values in chunk.texts.items()}
            counts = {name: values[rows] for name, values in chunk.counts.items()}
            yield Batch(
                image,
                chunk.embeddings[rows],
                counts.get("blob"),
                counts.get("repeat"),
                _boxes(counts),
                **texts,
            )


def _rows_by_image(images: NDArray[np.object_]) -> dict[str, Any]:
    """Tell the rows of each image; a slice where they stand together, as they mostly do."""
    runs: dict[str, list[slice]] = {}
    for start, stop in pairwise([*run_starts(images).tolist(), len(images)]):
        runs.setdefault(images[start], []).append(slice(start, stop))
    return {name: parts[0] if len(parts) == 1 else np.r_[*parts] for name, parts in runs.items()}


def _one(values: NDArray[np.object_], name: str, image: str, path: Path) -> str:
    said = sorted(set(values.tolist()))
    if len(said) > 1 and name == "sample_index":  # it tells rows apart, not images: not what is meant here
        return ""
    if len(said) > 1:
        raise DataError(
            f"{path}: {name} of image {image!r} is {said[0]!r} in one row and {said[1]!r} in another",
            expected=f"one {name} an image",
        )
    return str(said[0])


def unique_boxes(boxes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep each blob's box once; one without an area says that it isn't known.

    Parameters
    ----------
    boxes : ndarray of shape (n, 6) or (n, 8), int32
        Number, area_px, x0, y0, x1, y1, and scale and parent where there are several scales; a row an embedding.
    """
    known = boxes[boxes[:, 1] > 0]
    return known[np.unique(known[:, 0], return_index=True)[1]]


def _boxes(counts: Mapping[str, NDArray[np.int32]]) -> NDArray[np.int32] | None:
    """Collect the boxes of blobs, where the table has them."""
    if not {"blob", *BOX_COLUMNS} <= counts.keys():
        return None
    scales = SCALE_COLUMNS if set(SCALE_COLUMNS) <= counts.keys() else ()
    return unique_boxes(np.column_stack([counts[name] for name in ("blob", *BOX_COLUMNS, *scales)]))
