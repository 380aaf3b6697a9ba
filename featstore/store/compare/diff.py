"""What differs between two stores, or two versions of one: recipe, keys, images, labels, and the embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import SettingError
from featstore.recipe import differences
from featstore.store.compare.cosines import CosineSummary, KeyCosine, compare_rows, worst_keys
from featstore.store.compare.matching import KeyMatch, differing_images, has_digests, match_keys
from featstore.store.disk.columns import ImageTable
from featstore.store.images import ImageRow
from featstore.store.keys import number_images
from featstore.store.reader import Store, open_store

__all__ = ["Listed", "Side", "StoreDiff", "diff", "open_pair"]

FIRST = 5
FACTS = ("label", "split", "group", "left_out")
REWRITES = ("compact", "merge")
"""They compute nothing: what they note in the log is not how embeddings were computed."""


@dataclass(frozen=True)
class Listed:
    """How many there are, and the first few."""

    count: int
    first: tuple[Any, ...]

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True)
class Side:
    """One of the two: which version of which store, and how its embeddings were computed.

    ``how`` has the values that occur in the history, such as ``{"device": ["cpu", "mps"]}``.
    """

    store: str
    version: int
    fingerprint: str
    embeddings: int
    dim: int
    dtype: str
    how: dict[str, list[str]]


@dataclass(frozen=True)
class StoreDiff:
    """What differs between a and b.

    Attributes
    ----------
    a, b : Side
    recipe : tuple of dict
        ``field`` (dotted), ``a`` and ``b``.
    images_only_a, images_only_b : Listed
        Names of images that the other does not know.
    content : Listed
        Images whose file or mask differs, as ``image`` and ``what``; their embeddings are not compared.
    without_digests : str
        Which of the two, ``a`` or ``b``, has no digest of any image (``a and b`` where both), else empty: content could
        not be compared then, and images of one name count as the same.
    facts : dict of str to Listed
        ``label``, ``split``, ``group`` and ``left_out`` (why an image does not count), as ``image``, ``a``, ``b``.
    keys_only_a, keys_only_b : Listed
        Keys (image, blob, repeat).
    shared : int
        Keys of both.
    cosines : CosineSummary or None
        Over shared keys of the same content; None where lengths of embeddings differ.
    worst : tuple of KeyCosine
        The keys whose embeddings differ most.
    """

    a: Side
    b: Side
    recipe: tuple[dict[str, Any], ...]
    images_only_a: Listed
    images_only_b: Listed
    content: Listed
    without_digests: str
    facts: dict[str, Listed]
    keys_only_a: Listed
    keys_only_b: Listed
    shared: int
    cosines: CosineSummary | None
    worst: tuple[KeyCosine, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs, embeddings bit for bit."""
        lists = (self.images_only_a, self.images_only_b, self.content, self.keys_only_a, self.keys_only_b)
        equal = self.cosines is not None and self.cosines.identical == self.cosines.count
        equal = equal and self.a.dtype == self.b.dtype
        return equal and not (self.recipe or any(lists) or any(self.facts.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON types."""
        return {"same": self.same, **asdict(self)}


def open_pair(
    a: str | Path, b: str | Path | None = None, version_a: int | None = None, version_b: int | None = None
) -> tuple[Store, Store]:
    """Open what is to be compared.

    Parameters
    ----------
    a : str or Path
    b : str or Path, optional
        The same store as ``a`` by default: two of its versions are compared.
    version_a, version_b : int, optional
        The newest by default; of one store, ``version_a`` is the one before by default.

    Returns
    -------
    tuple of two Stores

    Raises
    ------
    SettingError
        If ``b`` is not given and there is no earlier version.
    """
    second = open_store(a if b is None else b, version_b)
    if b is None and version_a is None:
        before = [entry["version"] for entry in islice(second.log(), 1, 2)]
        if not before:
            raise SettingError(
                f"{a}: version {second.version} has none before it",
                expected="two versions, or two stores",
                remedy="Name the store to compare with.",
            )
        version_a = before[0]
    return open_store(a, version_a), second


def diff(a: Store, b: Store) -> StoreDiff:
    """Compare two stores, or two versions of one.

    This is how to see what a device, a precision or a library changes: extract twice with one recipe, and look at the
    cosines of the keys that both have. Memory is bounded whatever the number of embeddings.

    Parameters
    ----------
    a, b : Store

    Returns
    -------
    StoreDiff
    """
    keys, b_keys = a.keys, b.keys
    match = match_keys(keys, b_keys)
    tables = {"a": a.state.images, "b": b.state.images}
    rows = differing_images(*tables.values())
    unknown = " and ".join(name for name, table in tables.items() if not has_digests(table))
    changed = {} if unknown else {ours.image: what for ours, theirs in rows if (what := _changed(ours, theirs))}
    summary, worst = _compared(a, b, keys, match, changed)
    return StoreDiff(
        _side(a),
        _side(b),
        tuple({"field": field, "a": ours, "b": theirs} for field, ours, theirs in differences(a.recipe, b.recipe)),
        _listed(_absent(a.state.images, b.state.images)),
        _listed(_absent(b.state.images, a.state.images)),
        _listed({"image": name, "what": what} for name, what in changed.items()),
        unknown,
        {fact: _listed(_differing(fact, rows)) for fact in FACTS},
        _listed_keys(keys, match.only_a),
        _listed_keys(b_keys, match.only_b),
        len(match.shared_a),
        summary,
        worst,
    )


def _compared(
    a: Store, b: Store, keys: NDArray[np.void], match: KeyMatch, changed: Mapping[str, str]
) -> tuple[CosineSummary | None, tuple[KeyCosine, ...]]:
    """Compare the embeddings of keys that both have, where the images are the same."""
    if a.dim != b.dim:
        return None, ()
    names, image = number_images(keys)
    kept = ~np.isin(names, list(changed))[image[match.shared_a]]
    rows_a, rows_b = match.shared_a[kept], match.shared_b[kept]
    compared = compare_rows(a, rows_a, b, rows_b)
    return CosineSummary.of(compared), worst_keys(keys[rows_a], compared, FIRST)


def _side(store: Store) -> Side:
    how: dict[str, set[str]] = {}
    for entry in store.log():
        said = None if entry.get("operation") in REWRITES else entry.get("how")
        for name, value in said.items() if isinstance(said, dict) else ():
            how.setdefault(name, set()).add(str(value))
    plain = {name: sorted(values) for name, values in sorted(how.items())}
    return Side(str(store.path), store.version, store.fingerprint, len(store), store.dim, store.dtype, plain)


def _changed(a: ImageRow, b: ImageRow) -> str:
    parts = (("image", a.sha256 != b.sha256), ("mask", a.mask_sha256 != b.mask_sha256))
    return " and ".join(name for name, differs in parts if differs)


def _absent(there: ImageTable, elsewhere: ImageTable) -> Iterator[str]:
    return (name.decode() for name in there.places if name not in elsewhere.places)


def _differing(fact: str, rows: Iterable[tuple[ImageRow, ImageRow]]) -> Iterator[dict[str, str]]:
    for a, b in rows:
        ours, theirs = getattr(a, fact), getattr(b, fact)
        if ours != theirs:
            yield {"image": a.image, "a": ours, "b": theirs}


def _listed(items: Iterable[Any]) -> Listed:
    found = iter(items)
    first = tuple(islice(found, FIRST))
    return Listed(len(first) + sum(1 for _ in found), first)


def _listed_keys(keys: NDArray[np.void], positions: NDArray[np.intp]) -> Listed:
    first = [{"image": str(i), "blob": int(b), "repeat": int(r)} for i, b, r in keys[positions[:FIRST]].tolist()]
    return Listed(len(positions), tuple(first))
