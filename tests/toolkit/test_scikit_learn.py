"""Bags and the toolkit in the hands of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featstore.toolkit import FoldEnsemble, LogitFusion, MeanPool, MLPHead, PooledHead, TemperatureScaling, m5

pooled = make_pipeline(MeanPool(), StandardScaler(), LogisticRegression())


def test_a_pipeline_on_means_scores_well_above_chance(bags):
    scores = cross_val_score(pooled, bags, bags.labels, cv=StratifiedKFold(5), scoring="f1_macro")
    assert scores.mean() > 0.8


@pytest.mark.parametrize(
    "model",
    [
        MLPHead(hidden=(8,), max_epochs=5, random_state=0),
        TemperatureScaling(pooled, random_state=0),
        LogitFusion([("a", pooled), ("b", pooled)], random_state=0),
        FoldEnsemble(pooled, n_splits=2, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_estimator_cross_validates_on_bags(model, bags):
    result = cross_validate(
        model, bags, bags.labels, cv=StratifiedKFold(3), scoring=["f1_macro", "neg_log_loss"], error_score="raise"
    )
    assert np.isfinite(result["test_neg_log_loss"]).all()
    assert set(cross_val_predict(model, bags, bags.labels, cv=3)) <= set(bags.labels)


def test_grid_search_reaches_parameters_inside(bags):
    fusion = LogitFusion([("plain", pooled), ("calibrated", TemperatureScaling(pooled, random_state=0))])
    grid = {"plain__logisticregression__C": [0.1, 1.0], "calibrated__estimator__logisticregression__C": [0.1]}
    search = GridSearchCV(fusion.set_params(random_state=0), grid, cv=2, scoring="f1_macro").fit(bags, bags.labels)
    assert search.best_score_ > 0.8
    assert dict(search.best_estimator_.estimators)["calibrated"].estimator[-1].C == 0.1


def test_halving_search_gives_ever_more_images(bags):
    search = HalvingGridSearchCV(
        pooled, {"logisticregression__C": [0.01, 0.1, 1.0]}, cv=2, min_resources=20, random_state=0
    ).fit(bags, bags.labels)
    assert search.n_resources_ == [20, 60]
    assert search.best_estimator_.score(bags, bags.labels) > 0.8


def test_a_learning_curve_counts_images(bags):
    sizes, _, scores = learning_curve(pooled, bags, bags.labels, train_sizes=[0.2, 1.0], cv=3, scoring="f1_macro")
    assert sizes.tolist() == [int(0.2 * (len(bags) * 2 // 3)), len(bags) * 2 // 3]
    assert scores[-1].mean() >= scores[0].mean()


def test_a_permutation_test_tells_signal_from_noise(bags):
    score, others, p = permutation_test_score(pooled, bags, bags.labels, cv=2, n_permutations=19, random_state=0)
    assert score > others.max()
    assert p == pytest.approx(1 / 20)


def test_a_validation_curve_reaches_into_the_head(bags):
    head = MLPHead(hidden=(8,), max_epochs=5, random_state=0)
    _, scores = validation_curve(head, bags, bags.labels, param_name="lr", param_range=[1e-5, 1e-2], cv=2)
    assert scores[1].mean() > scores[0].mean()


@pytest.mark.parametrize(
    "model",
    [
        CalibratedClassifierCV(pooled, cv=3),
        CalibratedClassifierCV(MLPHead(hidden=(8,), lr=0.01, random_state=0), cv=3),
        StackingClassifier([("a", pooled), ("b", MLPHead(hidden=(8,), max_epochs=10, random_state=0))], cv=3),
        VotingClassifier([("a", pooled), ("b", MLPHead(hidden=(8,), max_epochs=10, random_state=0))], voting="soft"),
        OneVsRestClassifier(PooledHead(LogisticRegression())),
        m5(0, 3, heads=[("boosting", HistGradientBoostingClassifier(max_iter=10)), ("logistic", LogisticRegression())]),
        GridSearchCV(m5(0, 2, heads=[("a", LogisticRegression())]), {"estimator__a__estimator__estimator__C": [1]}),
        make_pipeline(
            MeanPool(),
            ColumnTransformer([("some", StandardScaler(), slice(0, 3))], remainder="passthrough"),
            LogisticRegression(),
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_bags_pass_through_scikit_learns_own_ensembles(model, bags, make_bags):
    new = make_bags(100, seed=1)
    fitted = clone(model).fit(bags, bags.labels)
    assert fitted.score(new, new.labels) > 0.8
    np.testing.assert_allclose(fitted.predict_proba(new).sum(axis=1), 1, rtol=1e-6)


def test_train_test_split_divides_images(bags):
    train, test, y_train, y_test = train_test_split(bags, bags.labels, stratify=bags.labels, random_state=0)
    assert set(train.images).isdisjoint(test.images)
    assert len(train) + len(test) == len(bags)
    assert clone(pooled).fit(train, y_train).score(test, y_test) > 0.7


def test_groups_reach_scikit_learns_splitters(make_bags):
    bags = make_bags(40, twins=10)
    for train, test in GroupKFold(4).split(bags, bags.labels, bags.groups):
        assert set(bags[train].groups).isdisjoint(bags[test].groups)


def test_clone_and_set_params(bags):
    model = FoldEnsemble(LogitFusion([("mlp", TemperatureScaling(MLPHead()))]), n_splits=3)
    copy = clone(model).set_params(estimator__mlp__estimator__lr=0.1, n_splits=2)
    assert copy.get_params()["estimator__mlp__estimator__lr"] == 0.1
    assert model.get_params()["estimator__mlp__estimator__lr"] == MLPHead().lr


def test_data_frames_keep_their_names():
    pandas = pytest.importorskip("pandas", reason="data frames need pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.standard_normal((60, 3)), columns=["a", "b", "c"])
    y = np.where(frame["a"] > 0, "yes", "no")
    model = TemperatureScaling(MLPHead(hidden=(4,), max_epochs=3, random_state=0), random_state=0)
    model.fit(frame, y, eval_set=(frame[:20], y[:20]))
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert len(model.predict(frame)) == 60
    head = MLPHead(hidden=(4,), max_epochs=3, random_state=0).fit(frame, y, eval_set=(frame[:20], y[:20]))
    assert list(head.feature_names_in_) == ["a", "b", "c"]


def test_mean_pool_is_the_mean_over_clean_blobs(bags):
    means = MeanPool().fit_transform(bags)
    for bag, mean in zip(bags, means, strict=True):
        np.testing.assert_allclose(mean, bag.embeddings[bag.repeat == 0].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_mean_pool_names_its_output(bags):
    pytest.importorskip("pandas", reason="data frames need pandas")
    frame = MeanPool().set_output(transform="pandas").fit_transform(bags)
    assert frame.shape == bags.shape
    assert list(frame.columns[:2]) == ["x0", "x1"]
