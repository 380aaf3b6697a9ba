"""Fusion: weights on the simplex, chosen in the middle of the best plateau."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from featstore.errors import SettingError
from featstore.toolkit import LogitFusion, MLPHead, TemperatureScaling
from featstore.toolkit.simplex import best_weights, grid, macro_f1


def heads(n_heads: int, n: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels, and for each head logits that know something of them, each something else."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    logits = rng.standard_normal((n_heads, n, n_classes)) + 1.2 * np.eye(n_classes)[y]
    return logits, y


def f1(logits: np.ndarray, y: np.ndarray) -> float:
    return float(f1_score(y, logits.argmax(axis=1), average="macro", zero_division=0))


@given(seed=st.integers(0, 10_000), n_heads=st.integers(1, 4), n=st.integers(4, 60), n_classes=st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_never_worse_than_the_best_head_where_it_was_chosen(seed, n_heads, n, n_classes):
    logits, y = heads(n_heads, n, n_classes, seed)
    weights = best_weights(logits, y)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert f1(np.tensordot(weights, logits, axes=1), y) >= max(f1(head, y) for head in logits) - 1e-9


@given(seed=st.integers(0, 10_000), n=st.integers(10, 80))
@settings(max_examples=30, deadline=None)
def test_two_heads_get_the_middle_of_the_widest_best_run(seed, n):
    logits, y = heads(2, n, 3, seed)
    predicted = np.stack([(w * logits[0] + (100 - w) * logits[1]).argmax(axis=1) for w in range(101)])
    scores = macro_f1(predicted, y, 3)
    best = (scores > scores.max() - 1e-9).tolist()
    runs, start = [], None
    for w, good in enumerate([*best, False]):
        if good and start is None:
            start = w
        elif not good and start is not None:
            runs.append((start, w - 1))
            start = None
    widest = max(stop - first for first, stop in runs)
    middles = [(first + stop) / 2 for first, stop in runs if stop - first == widest]
    assert min(abs(100 * best_weights(logits, y)[0] - middle) for middle in middles) <= 0.5 + 1e-9


@pytest.mark.parametrize("n_heads", [2, 3])
def test_order_of_heads_only_orders_the_weights(n_heads):
    for seed in range(5):
        logits, y = heads(n_heads, 40, 4, seed)
        weights = best_weights(logits, y)
        for order in permutations(range(n_heads)):
            np.testing.assert_allclose(best_weights(logits[list(order)], y), weights[list(order)])


def test_equal_heads_get_equal_weights():
    logits, y = heads(1, 40, 4, seed=0)
    for n_heads in (1, 2, 3, 4, 5, 6):
        weights = best_weights(np.repeat(logits, n_heads, axis=0), y)
        np.testing.assert_allclose(weights, 1 / n_heads)


def test_a_useless_head_gets_little():
    rng = np.random.default_rng(0)
    logits, y = heads(1, 300, 3, seed=1)
    noise = 3 * rng.standard_normal((1, 300, 3))
    assert best_weights(np.concatenate([2 * logits, noise]), y)[0] > 0.7


@pytest.mark.parametrize("surer", [0, 1])
def test_log_loss_breaks_ties_between_plateaus(surer):
    # Image 0 is right below a weight of 0.395, image 1 above 0.605, and all others always: two plateaus of 40 points.
    y = np.array([0, 1, *[0, 1, 2] * 4])
    logits = np.stack([np.eye(3)[y], np.eye(3)[y]])
    logits[surer, 2:] *= 3
    logits[:, :2, :] = 0
    logits[:, 0, 0], logits[:, 1, 1] = [-0.605, 0.395], [0.395, -0.605]
    logits[:, 0, 1] = logits[:, 1, 0] = -5
    assert best_weights(logits, y)[surer] == pytest.approx(0.805, abs=0.006)


def test_the_grid_is_the_documented_one():
    assert [len(grid(n)) for n in (1, 2, 3, 4, 5)] == [1, 101, 1891, 1771, 1001]
    for n_heads in range(1, 9):
        points = grid(n_heads)
        assert len(points) <= 2000
        assert (points.sum(axis=1) == points[0].sum()).all()
        assert (points.max(axis=1) == points.sum(axis=1)).sum() == n_heads


def test_many_heads_and_many_images_stay_within_memory():
    logits, y = heads(3, 3000, 4, seed=0)
    assert best_weights(logits, y).sum() == pytest.approx(1)


@given(seed=st.integers(0, 1000), n=st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_macro_f1_is_scikit_learns(seed, n):
    rng = np.random.default_rng(seed)
    y, predicted = rng.integers(0, 4, n), rng.integers(0, 4, (5, n))
    expected = [f1_score(y, row, average="macro", zero_division=0) for row in predicted]
    np.testing.assert_allclose(macro_f1(predicted, y, 4), expected)


class Column(ClassifierMixin, BaseEstimator):
    """Takes one part of X for its logits, and keeps what it was given."""

    def __init__(self, part=0):
        self.part = part

    def fit(self, X, y, eval_set=None):
        self.classes_ = np.unique(y)
        self.given = (X, y, eval_set)
        return self

    def decision_function(self, X):
        return X[:, 3 * self.part : 3 * self.part + 3]


def test_fused_logits_are_the_weighted_sum():
    logits, y = heads(2, 60, 3, seed=3)
    X = np.concatenate(logits, axis=1)
    fusion = LogitFusion([("one", Column(0)), ("two", Column(1))]).fit(X, y, eval_set=(X, y))
    np.testing.assert_allclose(list(fusion.weights_.values()), best_weights(logits, y))
    expected = fusion.weights_["one"] * logits[0] + fusion.weights_["two"] * logits[1]
    np.testing.assert_allclose(fusion.logits(X), expected)
    np.testing.assert_allclose(fusion.predict_proba(X), softmax(expected, axis=1))
    for head in fusion.estimators_:
        assert head.given[2][0].shape == X.shape


def test_without_a_validation_part_one_is_held_out():
    logits, y = heads(2, 60, 3, seed=3)
    X = np.concatenate(logits, axis=1)
    fusion = LogitFusion([("one", Column(0)), ("two", Column(1))], random_state=0).fit(X, y)
    trained, _, (held_out, _) = fusion.estimators_[0].given
    assert len(trained) + len(held_out) == 60
    assert len(held_out) == 6
    few = LogitFusion([("one", Column(0)), ("two", Column(1))]).fit(X[:6], np.arange(6) % 3)
    assert few.weights_ == {"one": 0.5, "two": 0.5}


def test_bags_through_calibrated_heads(bags, make_bags):
    new = make_bags(100, seed=1)
    small = MLPHead(hidden=(8,), random_state=0)
    fusion = LogitFusion(
        [("blobs", TemperatureScaling(small)), ("means", TemperatureScaling(MLPHead(level="image", random_state=0)))],
        random_state=0,
    ).fit(bags, bags.labels)
    assert fusion.score(new, new.labels) > 0.8


@pytest.mark.parametrize(
    "estimators",
    [
        None,
        [],
        [("a", LogisticRegression()), ("a", LogisticRegression())],
        [("a__b", LogisticRegression())],
        [("estimators", LogisticRegression())],
        [LogisticRegression()],
        "mlp",
    ],
)
def test_odd_lists_are_refused_in_fit(estimators, bags):
    with pytest.raises(SettingError, match="list of \\(name, classifier\\)"):
        LogitFusion(estimators).fit(bags.means(), bags.labels)
