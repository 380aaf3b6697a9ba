"""Bags of crops at several scales: some of the scales, or all of them side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featstore.canonical import different_wholes, require
from featstore.errors import DataError, SettingError
from featstore.recipe import OBJECT
from featstore.store.disk.columns import ImageTable
from featstore.store.disk.segments import BLOB_COLUMNS, Segment
from featstore.store.index import KeyIndex, blob_table
from featstore.store.instances import SharedRows
from featstore.store.runs import run_means, run_starts

if TYPE_CHECKING:
    from featstore.store.bags import Bags

__all__ = [
    "TILES",
    "at_scales",
    "checked_scales",
    "counts_of_scales",
    "in_order",
    "own_blobs",
    "scales_of_rows",
    "side_by_side",
]

TILES = 0
"""The scale of tiles."""

Rows = NDArray[np.intp]


def checked_scales(scales: Any, there: Sequence[int]) -> list[int]:
    """Return the scales asked for.

    Raises
    ------
    SettingError
        If they are no list of different whole numbers, or one is not there.
    """
    given = different_wholes(scales)
    require(bool(given), f"scales is {scales!r}", "a list of different scales, such as [1, 2]; 0 for tiles")
    if missing := [scale for scale in given if scale not in there]:
        raise SettingError(
            f"no crops at {_named(missing)}",
            expected=f"some of {_named(there)}, which these embeddings have",
            remedy="Extract others into another store: featstore extract --scales 1,2,4 --tiles 224 --store PATH.",
        )
    return list(given)


def at_scales(bags: Bags, scales: Sequence[int]) -> Bags:
    """Return what `Bags.at_scales` does."""
    wanted = checked_scales(scales, bags.scales)
    if len(wanted) == len(bags.scales):
        return bags
    rows, (chosen, image) = bags._rows, bags._all_rows()
    kept = np.isin(rows.scale_at(chosen), wanted)
    return _with_rows(bags, rows.copied(chosen[kept]), image[kept])


def side_by_side(bags: Bags, scales: Sequence[int]) -> Bags:
    """Return what `Bags.side_by_side` does."""
    wanted = checked_scales(scales, bags.scales)
    rows, (chosen, image) = bags._rows, bags._all_rows()
    of_scale = rows.scale_at(chosen)
    parts = [_by_blob(rows, chosen[of_scale == scale], image[of_scale == scale]) for scale in wanted]
    keys = parts[0][1]
    for scale, (_, other) in zip(wanted, parts, strict=True):
        if not np.array_equal(other, keys):
            raise DataError(
                f"blobs or repeats that {_named([scale])} has alone, or lacks",
                expected=f"each blob at {_named(wanted)}, to put them side by side",
            )
    of_image, parent, repeat = keys
    embeddings = np.concatenate([part for part, _ in parts], axis=1)
    return _with_rows(bags, SharedRows(embeddings, parent.astype(np.int32), repeat.astype(np.int32)), of_image)


def _by_blob(rows: SharedRows, at: Rows, image: Rows) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the mean of the crops of each blob in each repeat, and the image, blob and repeat that it is of."""
    parent, repeat = rows.parent_at(at), rows.repeat[at]
    order = np.lexsort((repeat, parent, image))
    columns = [column[order] for column in (image, parent, repeat)]
    first = run_starts(*columns)
    return run_means(rows.embeddings, at[order], first), np.stack([column[first] for column in columns])


def _with_rows(bags: Bags, rows: SharedRows, image: Rows) -> Bags:
    """Give bags other rows, in the order of the images; ``image`` is the place of each row's."""
    found = np.bincount(image, minlength=len(bags))
    if not found.all():
        raise DataError(
            f"{int((found == 0).sum())} of {len(bags)} images have no crop at these scales",
            expected="one of every image",
        )
    stop = np.cumsum(found)
    return replace(bags, _rows=rows, _start=stop - found, _stop=stop)


def scales_of_rows(
    index: KeyIndex, table: NDArray[np.int32], rows: Rows
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Tell the scale and the parent of rows; one of which nothing is known is its blob's own crop.

    Parameters
    ----------
    index : KeyIndex
    table : ndarray of shape (n_blobs, 9), int32
        `BLOB_COLUMNS` in key order, with places among the index's names; one row or more.
    rows : ndarray of shape (n,), int
    """
    known = (table[:, 0].astype(np.int64) << 32) + table[:, 1]
    wanted = (index.image[rows].astype(np.int64) << 32) + index.blob[rows]
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    there = known[at] == wanted
    scale, parent = (table[at, BLOB_COLUMNS.index(name)] for name in ("scale", "parent"))
    return np.where(there, scale, 1).astype(np.int32), np.where(there, parent, index.blob[rows]).astype(np.int32)


def own_blobs(segments: Sequence[Segment], images: ImageTable, wanted: Iterable[str]) -> int:
    """Count the blobs of some images, those that are left out aside: crops at scale 1."""
    names, table = blob_table(segments, images)
    chosen = np.isin(names, list(wanted))[table[:, 0]]
    return int((chosen & (table[:, BLOB_COLUMNS.index("scale")] == OBJECT)).sum())


def counts_of_scales(index: KeyIndex, table: NDArray[np.int32] | None) -> dict[str, Any]:
    """Count blobs; where these have crops at several scales tell the scales, too, and how many crops there are.

    Parameters
    ----------
    index : KeyIndex
    table : ndarray of shape (n_blobs, 9), int32, or None
        As `scales_of_rows` takes it; None where all crops are the blobs' own.
    """
    crops = run_starts(index.image, index.blob)
    if table is None:
        return {"blobs": len(crops)}
    scale, _ = scales_of_rows(index, table, crops)
    return {"blobs": int((scale == OBJECT).sum()), "crops": len(crops), "scales": in_order(scale)}


def in_order(scale: NDArray[np.int32]) -> list[int]:
    """List the scales that there are: blobs, wider squares, tiles."""
    return sorted(np.unique(scale).tolist(), key=lambda scale: (scale == TILES, scale))


def _named(scales: Sequence[int]) -> str:
    return ", ".join("tiles" if scale == TILES else f"scale {scale}" for scale in scales)
