"""Folds and hold-outs: stratified, grouped, complete, or an error that says what to do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.errors import LabelError
from featstore.toolkit.splits import assign_folds, hold_out


def rng(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


@given(seed=st.integers(0, 1000), n_splits=st.integers(2, 5), size=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_groups_stay_together_and_every_fold_has_every_class(seed, n_splits, size):
    draw = np.random.default_rng(seed)
    n_groups = 60
    groups = np.repeat(np.arange(n_groups), draw.integers(1, size + 1, n_groups))
    y = np.array(["a", "b", "c"])[draw.permutation(groups.max() + 1) % 3][groups]
    folds = assign_folds(y, groups, n_splits, rng(seed))
    assert all(len(set(folds[groups == group])) == 1 for group in range(n_groups))
    for fold in range(n_splits):
        assert set(y[folds == fold]) == {"a", "b", "c"}


def test_classes_are_spread_evenly():
    y = np.repeat(["a", "b"], [100, 30])
    folds = assign_folds(y, np.arange(130), 10, rng())
    assert {int((folds[y == "a"] == fold).sum()) for fold in range(10)} == {10}
    assert {int((folds[y == "b"] == fold).sum()) for fold in range(10)} == {3}


def test_the_seed_decides():
    y = np.arange(60) % 3
    one, same, other = (assign_folds(y, np.arange(60), 5, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_rare_class_is_named_with_its_count_and_the_remedy():
    y = np.repeat(["Luminal A", "Triple negative"], [40, 7])
    with pytest.raises(LabelError, match=r"'Triple negative' has 7 images.*at least 10.*--folds 7"):
        assign_folds(y, np.arange(47), 10, rng())
    groups = np.concatenate([np.arange(40), [40, 40, 40, 41, 41, 42, 42]])
    with pytest.raises(LabelError, match=r"'Triple negative' has 3 groups of images.*--folds 3"):
        assign_folds(y, groups, 10, rng())
    with pytest.raises(LabelError, match=r"has 1 image;.*Label more images"):
        assign_folds(np.repeat(["a", "b"], [40, 1]), np.arange(41), 10, rng())
    assert issubclass(LabelError, ValueError)


def test_groups_that_no_shuffle_can_spread_are_an_error():
    # Both groups that hold "b" hold nearly everything, so that the splitter never parts the rest from them.
    y = np.array(["a", "b"] * 2)
    groups = np.array([0, 0, 0, 1])
    assert set(assign_folds(y[[0, 1, 2, 3]], np.array([0, 0, 1, 1]), 2, rng())) == {0, 1}
    with pytest.raises(LabelError, match="'a' has 1 group"):
        assign_folds(y, groups, 2, rng())


def test_the_hold_out_is_stratified_and_grouped():
    groups = np.repeat(np.arange(40), 2)
    y = np.array(["a", "b"])[groups % 2]
    held = hold_out(y, groups, 0.1, rng())
    assert held.sum() == 8
    assert set(y[held]) == {"a", "b"}
    assert not set(groups[held]) & set(groups[~held])


@pytest.mark.parametrize(("per_class", "expected"), [(3, None), (4, 0.25), (5, 0.2), (40, 0.1)])
def test_few_images_give_up_to_a_quarter_or_nothing(per_class, expected):
    y = np.repeat(["a", "b", "c"], per_class)
    held = hold_out(y, np.arange(len(y)), 0.1, rng())
    assert held is None if expected is None else held.mean() == pytest.approx(expected)


@pytest.mark.parametrize("fraction", [0.04, 0.1, 0.15, 1 / 3, 0.35, 0.4, 0.5, 0.6, 0.9, 0.999])
def test_what_is_held_out_is_what_was_asked_for(fraction):
    y = np.repeat(["a", "b"], 100)
    held = hold_out(y, np.arange(200), fraction, rng())
    assert held.mean() == pytest.approx(min(fraction, 0.99), abs=0.011)
    few = hold_out(y[95:105], np.arange(10), fraction, rng())
    assert set(y[95:105][few]) == set(y[95:105][~few]) == {"a", "b"}
