"""Pairs that look alike are those that a plain comparison of all with all finds, copies apart."""

from __future__ import annotations

import numpy as np
import pytest

from featstore.store.images import ImageRow, twin_groups
from featstore.store.looks import NEAR_BITS, near_pairs


def text(bits: np.ndarray) -> str:
    return np.packbits(bits).tobytes().hex()


def made_up(rng: np.random.Generator, count: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Hashes of unrelated images, and some that differ from an earlier one, turned, in up to 20 bits."""
    bits = rng.integers(0, 2, (count, 8, 256), dtype=np.uint8)
    for number in range(count // 2, count, 2):
        other, turn = rng.integers(0, count // 2), rng.integers(0, 8)
        bits[number, 0] = bits[other, turn]
        bits[number, 0, rng.choice(256, rng.integers(0, 21), replace=False)] ^= 1
    near = (bits[:, None, :, :] != bits[None, :, :1, :]).sum(axis=3).min(axis=2) <= NEAR_BITS
    near |= near.T
    pairs = [(int(a), int(b)) for a, b in zip(*np.nonzero(np.triu(near, 1)), strict=True)]
    return [text(row) for row in bits], pairs


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_that_comparing_all_with_all_finds(seed: int) -> None:
    looks, wanted = made_up(np.random.default_rng(seed), 60)
    assert wanted
    assert near_pairs(looks) == wanted


def test_what_is_no_hash_has_no_pair() -> None:
    look = text(np.ones((8, 256), np.uint8))
    assert near_pairs([look, "", "nonsense", look.upper(), look]) == [(0, 4)]
    assert near_pairs([]) == []


def test_twins_by_their_look_share_a_group() -> None:
    looks, pairs = made_up(np.random.default_rng(0), 20)
    rows = [ImageRow(f"{number:02d}", sha256=f"{number:064x}", look=look) for number, look in enumerate(looks)]
    groups = twin_groups(rows)
    for one, other in pairs:
        assert groups[rows[one].image] == groups[rows[other].image]
    assert len(set(groups.values())) == 20 - len(pairs)


def test_copies_hang_together_by_the_first_of_them() -> None:
    """The 20,000 copies of one image are 200 million pairs; an image that nearly looks so belongs to all of them."""
    bits = np.random.default_rng(0).integers(0, 2, (8, 256), dtype=np.uint8)
    near = bits.copy()
    near[0, :9] ^= 1
    pairs = near_pairs([text(near), *[text(bits)] * 20_000])
    assert pairs == [(0, 1), *((1, other) for other in range(2, 20_001))]


def test_one_pair_among_many_images() -> None:
    """Of 20,000 there are 200 million pairs: comparing all of them would take minutes."""
    rng = np.random.default_rng(0)
    looks = [rng.bytes(256).hex() for _ in range(20_000)]
    looks[7] = looks[19_000]
    assert near_pairs(looks) == [(7, 19_000)]
