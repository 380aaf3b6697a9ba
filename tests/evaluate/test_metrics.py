"""Figures agree with scikit-learn's, and weights are what they say: how often a resample has an image."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from featstore.errors import DataError
from featstore.evaluate import METRICS, Scored
from featstore.evaluate.metrics import ECE_BINS


def made_up(seed: int, n_images: int = 60, n_classes: int = 4) -> Scored:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_classes, n_images)
    logits = rng.normal(size=(n_images, n_classes)) + 2 * np.eye(n_classes)[codes]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Scored(probabilities, codes)


def once(scored: Scored) -> dict[str, float]:
    return {name: float(values[0]) for name, values in scored.figures(np.ones((1, len(scored.codes)))).items()}


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_scikit_learns(seed: int) -> None:
    scored = made_up(seed)
    found, classes = once(scored), range(4)
    assert list(found) == list(METRICS)
    assert found["macro_f1"] == pytest.approx(f1_score(scored.codes, scored.predicted, average="macro"))
    assert found["accuracy"] == pytest.approx(accuracy_score(scored.codes, scored.predicted))
    assert found["log_loss"] == pytest.approx(log_loss(scored.codes, scored.probabilities, labels=classes))
    squares = ((scored.probabilities - np.eye(4)[scored.codes]) ** 2).sum(axis=1).mean()
    assert found["brier"] == pytest.approx(squares)
    precision, recall, f1, _ = precision_recall_fscore_support(scored.codes, scored.predicted, labels=classes)
    of_class = scored.per_class(np.ones((1, len(scored.codes))))
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        np.testing.assert_allclose(of_class[name][0], expected)


def test_the_brier_score_of_two_classes_is_twice_scikit_learns() -> None:
    scored = made_up(0, n_classes=2)
    assert once(scored)["brier"] == pytest.approx(2 * brier_score_loss(scored.codes, scored.probabilities[:, 1]))


def test_the_calibration_error_is_the_literal_one() -> None:
    scored = made_up(1, 500)
    sure, right = scored.probabilities.max(axis=1), scored.predicted == scored.codes
    edges = np.linspace(0, 1, ECE_BINS + 1)
    expected = 0.0
    for low, high in pairwise(edges):
        inside = (sure > low) & (sure <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    assert once(scored)["ece"] == pytest.approx(expected)


@given(st.integers(0, 1000), st.lists(st.integers(0, 19), min_size=20, max_size=20))
@settings(max_examples=40, deadline=None)
def test_weights_count_images(seed: int, chosen: list[int]) -> None:
    scored = made_up(seed, 20, 3)
    resample = Scored(scored.probabilities[chosen], scored.codes[chosen])
    weights = np.bincount(chosen, minlength=20)[None].astype(float)
    there, whole = (set(each.codes) | set(each.predicted) for each in (resample, scored))
    for name, values in scored.figures(weights).items():
        expected = np.nan if name == "macro_f1" and there != whole else once(resample)[name]
        assert values[0] == pytest.approx(expected, nan_ok=True)


def test_a_class_that_does_not_occur_counts_nothing() -> None:
    scored = Scored(np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0]]), np.array([0, 1]))
    assert once(scored)["macro_f1"] == 1
    of_class = scored.per_class(np.ones((1, 2)))
    assert np.isnan([of_class[name][0, 2] for name in ("f1", "precision", "recall")]).all()


def test_probability_zero_of_the_truth_is_finite() -> None:
    assert 30 < once(Scored(np.array([[1.0, 0.0]]), np.array([1])))["log_loss"] < 40


def test_probabilities_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        Scored(np.array([[np.nan, 1.0]]), np.array([0]))
