"""Fusion: weights on the simplex, equal ones unless the validation part tells better ones."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
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


def scores(points: np.ndarray, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the macro-F1 of the fused logits at each point."""
    return macro_f1(np.tensordot(points, logits, axes=1).argmax(axis=-1), y, logits.shape[2])


def standard_error(score: float, n: int) -> float:
    return (score * (1 - score) / n) ** 0.5


def losses(weights: np.ndarray, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each image."""
    return -log_softmax(np.tensordot(weights, logits, axes=1), axis=1)[np.arange(len(y)), y]


@given(seed=st.integers(0, 10_000), n_heads=st.integers(1, 4), n=st.integers(1, 60), n_classes=st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_weights_are_equal_or_evidently_better_and_as_good_in_macro_f1(seed, n_heads, n, n_classes):
    logits, y = heads(n_heads, n, n_classes, seed)
    logits[0] *= 2
    weights, equal = best_weights(logits, y), np.full(n_heads, 1 / n_heads)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    if np.allclose(weights, equal):
        return
    gains = losses(equal, logits, y) - losses(weights, logits, y)
    assert gains.mean() > gains.std(ddof=1) / n**0.5
    best = scores(grid(n_heads) / grid(n_heads)[0].sum(), logits, y).max()
    assert scores(weights[None], logits, y)[0] >= best - standard_error(best, n) - 1e-9


@given(seed=st.integers(0, 10_000), n=st.integers(60, 200))
@settings(max_examples=30, deadline=None)
def test_on_the_plateau_the_log_loss_chooses(seed, n):
    logits, y = heads(2, n, 3, seed)
    logits[0] += 2 * np.eye(3)[y]
    logits[1] = np.random.default_rng(seed).standard_normal(logits[1].shape)
    points = np.arange(101)[:, None] * [1, -1] / 100 + [0, 1]
    found = scores(points, logits, y)
    plateau = points[found >= found.max() - standard_error(found.max(), n)]
    expected = min(plateau, key=lambda point: losses(point, logits, y).sum() + 3 * ((point - 0.5) ** 2).sum())
    np.testing.assert_allclose(best_weights(logits, y), expected)
    assert expected[0] > 0.5


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


def test_few_images_that_say_little_leave_equal_weights():
    chosen = [best_weights(*heads(2, 20, 4, seed))[0] for seed in range(200)]
    assert np.mean(np.array(chosen) == 0.5) > 0.7
    assert best_weights(*heads(3, 1, 4, seed=0)).tolist() == [1 / 3] * 3


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
