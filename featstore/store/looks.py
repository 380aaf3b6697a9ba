"""Which images look nearly the same, by their perceptual hashes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR_BITS", "near_pairs"]

NEAR_BITS = 15
"""Of 256: copies of an image that were saved otherwise differ in 8 at most, unrelated images in 50 and more."""

_LOOK = re.compile("[0-9a-f]{512}")
_TURNS, _PARTS = 8, 16
_AT_ONCE = 1 << 20


def near_pairs(looks: Sequence[str]) -> list[tuple[int, int]]:
    """Pair images whose looks differ in `NEAR_BITS` or fewer, in the best of the eight ways of turning.

    Of images with one and the same look only the first is compared with others, and each of the rest is paired with it:
    all that look alike hang together by these pairs, and a thousand copies have a thousand of them, not half a million.
    Of 16 parts of two such hashes at least one is the same: only images that share a part are compared (Norouzi et al.,
    2012, doi:10.1109/CVPR.2012.6248043), so a hundred thousand images take seconds.

    Parameters
    ----------
    looks : sequence of str
        As `ImageRow` has them; what is no such hash has no pair.

    Returns
    -------
    list of (int, int)
        Positions in ``looks``, the smaller first; each pair once, in order.
    """
    first: dict[str, int] = {}
    there = [(first.setdefault(look, place), place) for place, look in enumerate(looks) if _LOOK.fullmatch(look)]
    copies = [(one, other) for one, other in there if one != other]
    if len(first) < 2:
        return copies
    known = list(first.values())
    whole = np.frombuffer(bytes.fromhex("".join(first)), dtype=np.uint8)
    turned = whole.view(np.uint16).reshape(len(known), _TURNS, _PARTS)
    found = {pair for turn in range(_TURNS) for part in range(_PARTS) for pair in _pairs(turned, turn, part)}
    return sorted([*copies, *((known[one], known[other]) for one, other in found)])


def _pairs(turned: NDArray[np.uint16], turn: int, part: int) -> list[tuple[int, int]]:
    """Compare each image, turned, with those that share this part of the hash."""
    order = np.argsort(turned[:, 0, part], kind="stable")
    values = turned[order, 0, part]
    first, last = (np.searchsorted(values, turned[:, turn, part], side=side) for side in ("left", "right"))
    ends = np.cumsum(last - first)
    found, start = [], 0
    while start < len(ends):  # so many rows that their candidates fit into memory
        stop = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _AT_ONCE)))
        counts = (last - first)[start:stop]
        ones = np.repeat(np.arange(start, stop), counts)
        within = np.arange(len(ones)) - np.repeat(np.cumsum(counts) - counts, counts)
        others = order[np.repeat(first[start:stop], counts) + within]
        apart = np.bitwise_count(turned[ones, turn] ^ turned[others, 0]).sum(axis=1, dtype=np.int64)
        near = (apart <= NEAR_BITS) & (ones != others)
        found += [(min(pair), max(pair)) for pair in zip(ones[near].tolist(), others[near].tolist(), strict=True)]
        start = stop
    return found
