"""Which keys two stores share, and which images they tell differently: found in columns, for a million as for ten."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featstore.store.disk.columns import ImageTable
from featstore.store.images import ImageRow
from featstore.store.keys import number_images

__all__ = ["KeyMatch", "differing_images", "has_digests", "match_keys"]

DIGESTS = ("sha256", "mask_sha256")
WORDS = ("split", "label", "group", "reason", "artefact")


class KeyMatch(NamedTuple):
    """Positions in the keys of two stores, a and b, in key order.

    ``shared_a[i]`` and ``shared_b[i]`` are the same key; ``only_a`` and ``only_b`` have no counterpart.
    """

    shared_a: NDArray[np.intp]
    shared_b: NDArray[np.intp]
    only_a: NDArray[np.intp]
    only_b: NDArray[np.intp]


def match_keys(a: NDArray[np.void], b: NDArray[np.void]) -> KeyMatch:
    """Find the keys that two stores share.

    Parameters
    ----------
    a, b : structured arrays
        What ``Store.keys`` of each returned.

    Returns
    -------
    KeyMatch
    """
    (names_a, image_a), (names_b, image_b) = number_images(a), number_images(b)
    pairs_a, pairs_b = _pairs(a), _pairs(b)
    pairs = np.union1d(pairs_a, pairs_b)
    number, known = _find(names_a, names_b)
    rows_b = np.flatnonzero(known[image_b])
    # A key as one whole number: its image's place in a, then its place among the pairs. Both sides are sorted by it.
    left = image_a * len(pairs) + np.searchsorted(pairs, pairs_a)
    right = number[image_b[rows_b]] * len(pairs) + np.searchsorted(pairs, pairs_b[rows_b])
    place, found = _find(right, left)
    shared_b = rows_b[place[found]]
    matched = np.zeros(len(b), dtype=np.bool_)
    matched[shared_b] = True
    return KeyMatch(np.flatnonzero(found), shared_b, np.flatnonzero(~found), np.flatnonzero(~matched))


def _find(among: NDArray[Any], wanted: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Look sorted values up in sorted, distinct ones: the place of each, and whether it is there at all."""
    place = np.searchsorted(among, wanted)
    found = place < len(among)
    found[found] = among[place[found]] == wanted[found]
    return place, found


def _pairs(keys: NDArray[np.void]) -> NDArray[np.int64]:
    """Blob and repeat as one number; neither is below 0."""
    pairs: NDArray[np.int64] = (keys["blob"].astype(np.int64) << 32) | keys["repeat"].astype(np.int64)
    return pairs


def has_digests(table: ImageTable) -> bool:
    """Tell whether content is known of any image; where it is of none, as after an import, there is no comparing it."""
    return not len(table) or any((table.plain[column] != b"").any() for column in DIGESTS)


def differing_images(a: ImageTable, b: ImageTable) -> list[tuple[ImageRow, ImageRow]]:
    """Find the images of both whose content, split, label, group or reason to be left out is not the same."""
    shared = [name for name in a.places if name in b.places]
    at_a, at_b = (np.array([table.places[name] for name in shared], dtype=np.intp) for table in (a, b))
    differs = np.zeros(len(shared), dtype=np.bool_)
    for column in DIGESTS:
        differs |= a.plain[column][at_a] != b.plain[column][at_b]
    for column in WORDS:
        place: dict[str, int] = {}
        left, right = (
            np.array([place.setdefault(word, len(place)) for word in table.categories[column]], dtype=np.intp)
            for table in (a, b)
        )
        differs |= left[a.codes[column][at_a]] != right[b.codes[column][at_b]]
    names = [shared[number].decode() for number in np.flatnonzero(differs).tolist()]
    return [(a[name], b[name]) for name in names]
