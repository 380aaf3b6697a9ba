"""Instances: the rows that bags are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, SettingError

__all__ = ["Bag", "Instances", "Located", "Repeats", "SharedRows", "repeat_numbers"]

Repeats: TypeAlias = Literal["clean", "all"] | Sequence[int]


class Bag(NamedTuple):
    """One image: its name, label, and blob embeddings, float32 of shape (n_instances, dim).

    ``scale`` and ``parent`` tell of each whether it is a blob's own crop (1), what surrounds one (2 and more) or a tile
    (0), and of which blob.
    """

    image: str
    label: str
    embeddings: NDArray[np.float32]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]
    scale: NDArray[np.int32]
    parent: NDArray[np.int32]


class Instances(NamedTuple):
    """Rows of several bags: embeddings (n, dim) float32, and for each row the position of its image in the bags.

    ``blob`` is -1 where a row is a mean over the blobs of one repeat.
    """

    embeddings: NDArray[np.float32]
    image: NDArray[np.intp]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]


class Located(NamedTuple):
    """Rows of several bags that stay where they are: row i is ``stored[row[i]]``, of shape (dim,), float16 or float32.

    Else as `Instances`. Other bags' rows may be among those stored.
    """

    stored: NDArray[np.floating[Any]]
    row: NDArray[np.intp]
    image: NDArray[np.intp]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]

    def gather(self, chosen: Any) -> NDArray[np.float32]:
        """Copy some of the rows, (n_chosen, dim)."""
        rows: NDArray[np.float32] = self.stored[self.row[chosen]].astype(np.float32, copy=False)
        return rows


@dataclass(frozen=True)
class SharedRows:
    """The rows behind bags, shared by every subset of them; an image's rows stand together.

    Without ``scale`` and ``parent`` each is its blob's own crop.
    """

    embeddings: NDArray[np.floating[Any]]
    blob: NDArray[np.int32]
    repeat: NDArray[np.int32]
    scale: NDArray[np.int32] | None = None
    parent: NDArray[np.int32] | None = None

    def scale_at(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """Tell at which scale rows are: 1 the blob, 2 and more its surroundings, 0 a tile."""
        return np.ones(len(rows), dtype=np.int32) if self.scale is None else self.scale[rows]

    def parent_at(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """Tell the number of the blob that rows belong to."""
        return self.blob[rows] if self.parent is None else self.parent[rows]

    def copied(self, rows: NDArray[np.intp]) -> SharedRows:
        """Return some of the rows alone."""
        columns = (self.embeddings, self.blob, self.repeat, self.scale, self.parent)
        return SharedRows(*(None if column is None else column[rows] for column in columns))  # type: ignore[arg-type]

    def require_clean(self, images: NDArray[np.str_], start: NDArray[np.intp]) -> None:
        """Refuse images without a clean instance; ``start`` is the first row of each.

        Raises
        ------
        DataError
        """
        if not len(images):
            return
        lowest = np.minimum.reduceat(self.repeat, start)
        if lowest.any():
            name = images[np.flatnonzero(lowest)[0]]
            raise DataError(
                f"image {str(name)!r} has no clean embedding",
                expected="repeat 0 of every image: it is what predictions are made from",
            )


def repeat_numbers(repeats: Repeats) -> list[int] | None:
    """Tell the repeats that are meant, None for all.

    Raises
    ------
    SettingError
        If it is another word.
    """
    if not isinstance(repeats, str):
        return list(repeats)
    if repeats not in {"clean", "all"}:
        raise SettingError(f"repeats is {repeats!r}", expected="clean, all, or a list of numbers")
    return [0] if repeats == "clean" else None
