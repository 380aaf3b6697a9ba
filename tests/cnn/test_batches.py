"""Batches: every image, or every class, as often as it should be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featstore.cnn.batches import batches_of, key_of

sizes = st.lists(st.integers(2, 40), min_size=2, max_size=5)


@given(sizes, st.integers(2, 20), st.integers(0, 9), st.integers(1, 9))
def test_shuffled_shows_each_image_once(counts, size, seed, epoch):
    codes = np.repeat(np.arange(len(counts)), counts)
    batches = batches_of(codes, size, "shuffled", seed, epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(codes)))
    lengths = [len(batch) for batch in batches]
    assert max(lengths) <= max(size, 3)
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= 2


@given(sizes, st.integers(0, 9))
def test_balanced_shows_classes_equally_and_their_images_evenly(counts, seed):
    codes = np.repeat(np.arange(len(counts)), counts)
    order = np.concatenate(batches_of(codes, 8, "balanced", seed, 1))
    assert len(order) == len(codes)
    shown = np.bincount(codes[order], minlength=len(counts))
    assert shown.max() - shown.min() <= 1
    often = np.bincount(order, minlength=len(codes))
    for code in range(len(counts)):
        of_class = often[codes == code]
        assert of_class.max() - of_class.min() <= 1


def test_epochs_and_seeds_differ_and_repeat():
    codes = np.arange(50) % 3
    first = np.concatenate(batches_of(codes, 8, "shuffled", 0, 1))
    assert np.array_equal(np.concatenate(batches_of(codes, 8, "shuffled", 0, 1)), first)
    assert not np.array_equal(np.concatenate(batches_of(codes, 8, "shuffled", 0, 2)), first)
    assert not np.array_equal(np.concatenate(batches_of(codes, 8, "shuffled", 1, 1)), first)


def test_keys_fit_where_seeds_go():
    keys = {key_of("step", 0, epoch, step) for epoch in range(20) for step in range(20)}
    assert len(keys) == 400
    assert all(0 <= key < 2**63 for key in keys)
