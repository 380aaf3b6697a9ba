"""A sample that stands for the whole store, and what is said of embeddings that were made again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from featstore.errors import DataError, SettingError
from featstore.store import create_store, open_store
from featstore.store.compare.sample import check_sample, sample_keys


def test_a_sample_is_spread_over_images_and_half_of_it_augmented(make_store):
    store = make_store(20)
    sample = sample_keys(store, 20)
    assert sorted(sample.keys["image"].tolist()) == sorted(store.images)
    assert Counter(sample.keys["repeat"].tolist()) == {0: 10, 1: 10}
    np.testing.assert_array_equal(store.keys[sample.positions], sample.keys)


def test_every_image_comes_once_more_before_any_comes_twice_more(make_store):
    store = make_store(6)
    for n in range(1, len(store) + 1):
        images = Counter(sample_keys(store, n, seed=n).keys["image"].tolist())
        assert images.total() == n
        counts = [images[name] for name in store.images]
        assert max(counts) - min(counts) <= 1


def test_both_kinds_of_an_image_come_before_a_second_of_one_kind(make_store):
    kinds = Counter((image, repeat > 0) for image, _, repeat in sample_keys(make_store(6), 12).keys.tolist())
    assert set(kinds.values()) == {1}


def test_a_sample_is_a_function_of_its_seed(make_store):
    store = make_store(20)
    one, again, other = (sample_keys(store, 8, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.positions, again.positions)
    assert not np.array_equal(one.positions, other.positions)


def test_more_than_there_are_is_all_there_are(make_store, helpers, tmp_path):
    store = make_store(3)
    np.testing.assert_array_equal(sample_keys(store, 10**9).keys, store.keys)
    with create_store(tmp_path / "clean.store", helpers.recipe, helpers.dim) as writer:
        for number in range(5):
            helpers.add_image(writer, number, blobs=1, repeats=(0,))
    assert len(sample_keys(open_store(tmp_path / "clean.store"), 4).keys) == 4
    with pytest.raises(SettingError, match="sample of 0"):
        sample_keys(store, 0)


def test_the_same_embeddings_are_no_problem(make_store):
    store = make_store()
    sample = sample_keys(store, 10)
    check = check_sample(store, sample, store.take(sample.positions), 1.0)
    assert (check.cosines.count, check.cosines.identical, check.cosines.min) == (10, 10, 1.0)
    assert (check.worst, check.problems) == ((), ())


@pytest.mark.parametrize("kind", ["augmented", "clean"])
def test_a_low_cosine_is_a_problem_that_names_the_worst_key(make_store, kind):
    store = make_store()
    sample = sample_keys(store, 10)
    again = store.take(sample.positions)
    row = np.flatnonzero((sample.keys["repeat"] > 0) == (kind == "augmented"))[0]
    again[row] = -again[row]
    check = check_sample(store, sample, again, 0.999)
    assert check.cosines.min == -1.0
    (problem,) = check.problems
    image, blob, repeat = sample.keys[row].item()
    assert problem.startswith("1 of 10 embeddings")
    assert f"-1.000000000 ({image}, blob {blob}, repeat {repeat})" in problem
    assert ("1 of them clean crops" if kind == "clean" else "none of them a clean crop") in problem


def test_a_small_difference_is_told_and_is_no_problem(make_store):
    store = make_store()
    sample = sample_keys(store, 5)
    check = check_sample(store, sample, store.take(sample.positions) + np.float32(1e-3), 0.999)
    assert check.problems == ()
    assert check.cosines.identical == 0
    assert len(check.worst) == 1


def test_what_would_be_stored_as_the_same_half_precision_is_identical(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    with create_store(tmp_path / "half.store", {}, 8, dtype="float16") as writer:
        writer.add("x.png", range(4), [0] * 4, rows)
    store = open_store(tmp_path / "half.store")
    check = check_sample(store, sample_keys(store, 4), rows, 0.999)
    assert check.cosines.identical == 4
    assert 0.99999 < check.cosines.min < 1


def test_zeros_made_again_where_there_were_none_are_a_problem(make_store):
    store = make_store()
    sample = sample_keys(store, 3)
    (problem,) = check_sample(store, sample, np.zeros((3, store.dim)), -1.0).problems
    assert problem.startswith("3 of 3 embeddings")
    assert "no cosine" in problem


def test_embeddings_of_another_shape_are_refused(make_store):
    store = make_store()
    sample = sample_keys(store, 4)
    for embeddings in (np.zeros((3, store.dim)), np.zeros((4, store.dim + 1)), np.zeros(store.dim)):
        with pytest.raises(DataError, match=r"embeddings of shape .* for a sample of .*some\.store; expected \(4, 6\)"):
            check_sample(store, sample, embeddings, 0.999)


def test_what_half_precision_cannot_hold_is_a_problem_and_no_warning(tmp_path):
    with create_store(tmp_path / "x.store", {}, 2, dtype="float16") as writer:
        writer.add("x.png", [0], [0], [[1, 2]])
    store = open_store(tmp_path / "x.store")
    check = check_sample(store, sample_keys(store, 1), [[1e5, -1e5]], 0.999)
    assert (len(check.problems), check.cosines.identical) == (1, 0)
