"""Reading packed stores: one version of a store, or a part of it, as one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from featstore.errors import StoreFormatError, StoreNotFoundError
from featstore.recipe import fingerprint as fingerprint_of
from featstore.store.disk.columns import ImageTable
from featstore.store.disk.container import read_container
from featstore.store.disk.opening import RESTORE
from featstore.store.disk.segments import Segment, segment_of
from featstore.store.disk.versions import LOG_FIELDS

__all__ = ["PackedVersion", "read_packed"]


@dataclass(frozen=True, eq=False)
class PackedVersion:
    """What a packed store holds, in the words of `Version`; ``store`` is the file."""

    store: Path
    number: int
    recipe: Mapping[str, Any]
    dim: int
    dtype: str
    log: Mapping[str, Any]
    images: ImageTable
    segment: Segment

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the recipe's canonical JSON."""
        return fingerprint_of(self.recipe)

    def read_segments(self) -> list[Segment]:
        """Take the file for one segment."""
        return [self.segment]


def read_packed(path: Path, number: int | None = None) -> PackedVersion:
    """Read a packed store.

    Raises
    ------
    StoreNotFoundError
        If it holds another version than the one asked for.
    StoreFormatError
        If it is no packed store, or damaged.
    """
    container = read_container(path, "store")
    images = ImageTable.from_datasets(container.datasets, str(path))
    facts = container.attributes
    try:
        log = {**dict.fromkeys(LOG_FIELDS), **facts["log"]}
        recipe, stated = dict(facts["recipe"]), facts["fingerprint"]
        version, rows = log["version"], len(container.datasets["image"])
        right = fingerprint_of(recipe) == stated
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreFormatError(f"{path}: not readable as a packed store ({error})", remedy=RESTORE) from error
    if container.embeddings is None or not right or type(version) is not int or version < 1:
        raise StoreFormatError(f"{path}: its fields do not fit together", remedy=RESTORE)
    if number not in {None, version}:
        raise StoreNotFoundError(f"{path}: no version {number}", expected=f"{version}: a packed store holds one")
    dim, dtype = container.embeddings.shape[1], container.embeddings.dtype.name
    segment = segment_of(container, rows, fingerprint=stated, dim=dim)
    return PackedVersion(path, version, recipe, dim, dtype, log, images, segment)
