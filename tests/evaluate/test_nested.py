"""Nothing that scores an image has seen it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from featstore.errors import LabelError, SettingError
from featstore.evaluate import Candidate, cross_validate_nested, evaluate
from featstore.toolkit import FoldEnsemble, LogitFusion, MeanPool, MLPHead, PooledHead, TemperatureScaling


class Memory(ClassifierMixin, BaseEstimator):
    """Knows what it has seen: is sure of it, and guesses where it has not."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen_ = {row.tobytes(): label for row, label in zip(np.asarray(X), y, strict=True)}
        return self

    def predict_proba(self, X):
        rows = [self.seen_.get(row.tobytes()) for row in np.asarray(X)]
        equal = np.full(len(self.classes_), 1 / len(self.classes_))
        return np.array([equal if label is None else (self.classes_ == label).astype(float) for label in rows])


def logistic() -> object:
    return make_pipeline(MeanPool(), StandardScaler(), LogisticRegression())


def test_every_image_is_predicted_by_models_that_have_not_seen_it() -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.array(["a", "b"] * 20)
    evaluation = evaluate(Memory(), X, y, n_splits=5, n_seeds=3)
    assert (evaluation.probabilities == 0.5).all()
    assert evaluation.probabilities.shape == (3, 40, 2)
    assert [sorted(np.bincount(folds)) for folds in evaluation.folds] == [[8] * 5] * 3
    assert evaluate(Memory(), X.repeat(2, axis=0), y.repeat(2), n_splits=5).per_seed[0]["accuracy"] > 0.7


def test_what_the_groups_keep_together_is_not_seen_either(make_bags) -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 3)).repeat(2, axis=0), np.array(["a", "b"] * 20).repeat(2)
    evaluation = evaluate(Memory(), X, y, np.arange(40).repeat(2), n_splits=5)
    assert (evaluation.probabilities == 0.5).all()
    bags = make_bags(40, twins=12)
    folds = evaluate(logistic(), bags, n_splits=4).folds[0]
    np.testing.assert_array_equal(folds[0:24:2], folds[1:24:2])


@pytest.mark.parametrize("choosing", [False, True])
def test_a_model_that_chooses_on_its_images_is_at_chance_where_there_is_nothing_to_learn(choosing: bool) -> None:
    """Early stopping, temperatures and fusion see none of an outer fold, so they can't fit its labels."""
    head = TemperatureScaling(PooledHead(LogisticRegression()))
    model = FoldEnsemble(LogitFusion([("one", head), ("other", MLPHead(max_epochs=5))]), 3) if choosing else head
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(120, 5)), rng.permutation(np.array(["a", "b", "c"] * 40))
        found.append(evaluate(model, X, y, n_splits=4).per_seed[0]["accuracy"])
    # A standard error of 0.018 on 720 images.
    assert np.mean(found) == pytest.approx(1 / 3, abs=0.06)


def test_jobs_change_nothing_and_seeds_do(make_bags) -> None:
    bags = make_bags(36, apart=0.5)
    model = MLPHead(max_epochs=4)
    one, two = (evaluate(model, bags, n_splits=3, n_seeds=2, n_jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    assert not np.array_equal(one.folds[0], one.folds[1])
    assert not np.array_equal(evaluate(model, bags, n_splits=3, random_state=1).folds[0], one.folds[0])
    np.testing.assert_array_equal(evaluate(model, bags, n_splits=3).probabilities[0], one.probabilities[0])


def test_candidates_of_the_same_labels_have_the_same_folds(make_bags) -> None:
    bags, other = make_bags(36), make_bags(36, dim=5, seed=2)
    seen = []
    first, second = cross_validate_nested(
        [Candidate("a", logistic(), bags), Candidate("b", MLPHead(max_epochs=2), other)],
        n_splits=3,
        callback=seen.append,
    )
    np.testing.assert_array_equal(first.folds, second.folds)
    assert [(done.fits, done.of) for done in seen] == [(fits, 6) for fits in range(1, 7)]


def test_an_ensembles_own_figure_stands_beside(bags) -> None:
    evaluation = evaluate(FoldEnsemble(logistic(), 3), bags, n_splits=4)
    assert np.isfinite(evaluation.selection_macro_f1).all()
    assert np.isnan(evaluate(logistic(), bags, n_splits=4).selection_macro_f1).all()


def test_groups_of_an_array_reach_the_ensemble_inside() -> None:
    """Ten rows a group, all alike: an inner fold that has seen a row's group would be sure of it."""
    X, y = np.random.default_rng(0).normal(size=(24, 3)).repeat(10, axis=0), np.array(["a", "b"] * 12).repeat(10)
    evaluation = evaluate(FoldEnsemble(Memory(), 3), X, y, np.arange(24).repeat(10), n_splits=3)
    assert (evaluation.probabilities == 0.5).all()
    assert evaluation.selection_macro_f1.max() < 0.5


def test_groups_reach_a_search_and_the_hold_out_of_a_head(bags) -> None:
    X, y = np.random.default_rng(0).normal(size=(24, 3)).repeat(5, axis=0), np.array(["a", "b"] * 12).repeat(5)
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=GroupKFold(2))
    assert evaluate(search, X, y, np.arange(24).repeat(5), n_splits=3).probabilities.shape == (1, 120, 2)
    seen = []

    class Spy(Memory):
        def fit(self, X, y):
            seen.append(X.groups)
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, X):
            return np.full((len(X), len(self.classes_)), 0.25)

    groups = np.repeat(np.arange(30), 2)
    evaluate(Spy(), bags, groups=groups, n_splits=2)
    assert {name for names in seen for name in names} == {str(group) for group in groups}


def test_data_frames_stay_data_frames() -> None:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["first", "second"])
    y = (X["first"] > 0).map({True: "yes", False: "no"})
    model = make_pipeline(StandardScaler(), LogisticRegression())
    assert evaluate(model, X, y, n_splits=4).per_seed[0]["accuracy"] > 0.8


def test_a_classifier_without_probabilities_is_told_what_to_do(bags) -> None:
    with pytest.raises(SettingError, match=r"LinearSVC has no predict_proba.*TemperatureScaling"):
        evaluate(LinearSVC(), bags)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_splits", 1), ("n_seeds", 0), ("random_state", -1), ("random_state", 2**32), ("n_splits", 2.5)],
)
def test_settings_that_make_no_sense_are_refused(bags, name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        evaluate(logistic(), bags, **{name: value})


def test_too_few_images_of_a_class_are_told_with_what_to_do(make_bags) -> None:
    bags = make_bags(20)
    with pytest.raises(LabelError, match=r"has 5 images.*expected at least 6"):
        evaluate(logistic(), bags, n_splits=6)
    with pytest.raises(
        LabelError, match=r"without outer fold 0, class .* has 4 images.*fewer inner folds, or more outer"
    ):
        evaluate(FoldEnsemble(logistic(), 5), bags, n_splits=5)
    with pytest.raises(LabelError, match="3 groups for 20 images"):
        evaluate(logistic(), bags, groups=[1, 2, 3])
