"""What images count: sample weights through every estimator, and metadata routing."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier
from xgboost.callback import EarlyStopping

from featstore.errors import LabelError, SettingError
from featstore.store import join_bags
from featstore.toolkit import (
    FoldEnsemble,
    LogitFusion,
    MeanPool,
    MLPHead,
    OnView,
    PooledHead,
    TemperatureScaling,
    logits_of,
    m5,
)
from featstore.toolkit.simplex import best_weights
from featstore.toolkit.temperature import fit_temperature

small = MLPHead(hidden=(8,), max_epochs=15, random_state=0)
booster = XGBClassifier(n_estimators=20, max_depth=2, n_jobs=1, early_stopping_rounds=3)
logistic = make_pipeline(MeanPool(), StandardScaler(), LogisticRegression())

EVERY = [
    small,
    PooledHead(booster, random_state=0),
    PooledHead(GaussianNB()),
    TemperatureScaling(small, random_state=0),
    TemperatureScaling(logistic, random_state=0),
    LogitFusion([("mlp", small), ("logistic", logistic)], random_state=0),
    m5(0, 3, heads=[("mlp", small), ("xgboost", booster)]),
    FoldEnsemble(logistic, 3, random_state=0),
]
every = pytest.mark.parametrize("model", EVERY, ids=lambda model: type(model).__name__)


def heavy(y: np.ndarray, label: str, weight: float) -> np.ndarray:
    return np.where(y == label, weight, 1.0)


@every
def test_a_class_that_counts_more_is_predicted_more_often(model, make_bags):
    bags, new = make_bags(80, apart=0.15), make_bags(200, apart=0.15, seed=1)
    label = bags.labels[0]
    share = [
        (sklearn.base.clone(model).fit(bags, bags.labels, sample_weight=w).predict(new) == label).mean()
        for w in (None, heavy(bags.labels, label, 20.0))
    ]
    assert share[1] > share[0] + 0.1


@every
def test_weights_of_1_change_nothing(model, bags, make_bags):
    new = make_bags(10, seed=1)
    plain, weighted = (
        sklearn.base.clone(model).fit(bags, bags.labels, sample_weight=w) for w in (None, np.ones(len(bags)))
    )
    np.testing.assert_allclose(weighted.predict_proba(new), plain.predict_proba(new), rtol=1e-12)


@pytest.mark.parametrize("model", EVERY[:6], ids=lambda model: type(model).__name__)
def test_a_weight_of_0_leaves_an_image_out(model, bags, make_bags):
    new, weights = make_bags(10, seed=1), np.ones(len(bags))
    weights[::3] = 0
    kept = bags[weights > 0]
    without = sklearn.base.clone(model).fit(kept, kept.labels)
    zeroed = sklearn.base.clone(model).fit(bags, bags.labels, sample_weight=weights)
    np.testing.assert_allclose(zeroed.predict_proba(new), without.predict_proba(new), rtol=1e-12)


def test_a_view_passes_weights_on(bags, make_bags):
    both, w = join_bags([bags, bags]), heavy(bags.labels, bags.labels[0], 5.0)
    head = OnView(small, 1).fit(both, bags.labels, (both, bags.labels, w), sample_weight=w)
    alone = sklearn.base.clone(small).fit(bags, bags.labels, (bags, bags.labels, w), sample_weight=w)
    np.testing.assert_array_equal(head.logits(both), alone.logits(bags))


def test_an_image_that_weighs_2_is_two_images_to_temperature_and_fusion():
    rng = np.random.default_rng(0)
    y, w = rng.integers(0, 3, 60), rng.integers(1, 4, 60)
    logits = rng.standard_normal((2, 60, 3)) + np.array([2.0, 0.3])[:, None, None] * np.eye(3)[y]
    copied = np.repeat(np.arange(60), w)
    found = fit_temperature(logits[0], y, sample_weight=w.astype(float))
    assert found == pytest.approx(fit_temperature(logits[0][copied], y[copied]), rel=1e-9)
    np.testing.assert_array_equal(best_weights(logits, y, np.full(60, 7.0)), best_weights(logits, y))
    heavy_head = np.stack([np.eye(3)[y], np.eye(3)[(y + 1) % 3]])
    heavy_head[:, 30:] = heavy_head[::-1, 30:]
    assert best_weights(heavy_head, y, np.r_[np.ones(30), np.full(30, 0.01)])[0] > 0.9
    assert best_weights(heavy_head, y, np.r_[np.full(30, 0.01), np.ones(30)])[0] < 0.1


def test_a_frozen_classifier_keeps_what_it_learned(bags, make_bags):
    other = make_bags(60, apart=0.5, seed=1)
    head = sklearn.base.clone(small).fit(bags, bags.labels)
    w = np.random.default_rng(0).uniform(0.5, 2, len(other))
    scaled = TemperatureScaling(FrozenEstimator(head)).fit(other, other.labels, sample_weight=w)
    codes = np.searchsorted(head.classes_, other.labels)
    assert scaled.temperature_ == fit_temperature(head.logits(other), codes, sample_weight=w)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(40), "0 for every image|zero"),
        (-np.ones(40), "[Nn]egative"),
        (np.ones(39), "shape"),
        (np.full(40, np.nan), "NaN"),
    ],
)
def test_odd_weights_are_refused(weights, message, make_bags):
    bags = make_bags(40)
    for model in (small, PooledHead(GaussianNB()), FoldEnsemble(logistic, 2)):
        with pytest.raises((LabelError, ValueError), match=message):
            sklearn.base.clone(model).fit(bags, bags.labels, sample_weight=weights)


def test_folds_are_drawn_of_all_images(bags):
    weights = np.ones(len(bags))
    weights[3] = 0
    with pytest.raises(LabelError, match=r"1 of \d+ images have a sample_weight of 0.*keep"):
        FoldEnsemble(logistic, 2).fit(bags, bags.labels, sample_weight=weights)


def test_a_classifier_without_weights_is_named(bags):
    fusion = LogitFusion([("one", PooledHead(KNeighborsClassifier())), ("two", PooledHead(DummyClassifier()))])
    with pytest.raises(SettingError, match="KNeighborsClassifier takes no sample_weight"):
        fusion.fit(bags, bags.labels, sample_weight=heavy(bags.labels, bags.labels[0], 2.0))


def test_metadata_routing_brings_weights_and_groups(make_bags):
    bags = make_bags(60, apart=0.15, twins=10)
    weights, groups = heavy(bags.labels, bags.labels[0], 20.0), np.arange(60) // 2
    model = m5(0, 3, heads=[("mlp", small), ("logistic", PooledHead(LogisticRegression()))])
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True, groups=True)
        found = cross_validate(
            model,
            bags,
            bags.labels,
            cv=StratifiedGroupKFold(3),
            params={"sample_weight": weights, "groups": groups},
            return_estimator=True,
            return_indices=True,
            scoring=get_scorer("f1_macro").set_score_request(sample_weight=False),
            error_score="raise",
        )
        train, fitted = found["indices"]["train"][0], found["estimator"][0]
        for group in np.unique(groups[train]):
            assert len(set(fitted.folds_[groups[train] == group])) == 1
        direct = sklearn.base.clone(model).fit(
            bags[train], bags.labels[train], groups=groups[train], sample_weight=weights[train]
        )
    np.testing.assert_array_equal(direct.oof_probabilities_, fitted.oof_probabilities_)


@pytest.mark.parametrize("repeats", [2, 4])
@pytest.mark.parametrize("count", [20, 33, 40, 47])
def test_even_repeats_are_no_weights(repeats, count, make_bags):
    bags = make_bags(count, repeats=repeats)
    PooledHead(KNeighborsClassifier()).fit(bags, bags.labels)


@pytest.mark.parametrize("class_weight", [None, "balanced", {"HER2(+)": 1, "Luminal A": 3, "Luminal B": 1}])
def test_class_weights_count_images_by_their_weights(class_weight, make_bags):
    bags = make_bags(60, n_classes=3, apart=0.3, repeats=0)
    X, y, w = bags.means(), bags.labels, np.random.default_rng(0).integers(1, 4, 60)
    names = dict(zip(("HER2(+)", "Luminal A", "Luminal B"), np.unique(y), strict=True))
    if isinstance(class_weight, dict):
        class_weight = {names[name]: value for name, value in class_weight.items()}
    head, copied = PooledHead(LogisticRegression(C=0.1), class_weight=class_weight), np.repeat(np.arange(60), w)
    weighted = sklearn.base.clone(head).fit(X, y, sample_weight=w)
    repeated = sklearn.base.clone(head).fit(X[copied], y[copied])
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=0, atol=1e-4)


def test_weights_reach_through_searches_and_frozen_heads(bags):
    w = heavy(bags.labels, bags.labels[0], 3.0)
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2)
    frozen = FrozenEstimator(sklearn.base.clone(logistic).fit(bags, bags.labels))
    nested = make_pipeline(MeanPool(), make_pipeline(StandardScaler(), LogisticRegression()))
    fusion = LogitFusion([("a", PooledHead(search)), ("b", frozen), ("c", nested)], random_state=0)
    assert fusion.fit(bags, bags.labels, sample_weight=w).score(bags, bags.labels) > 0.8


def test_boosters_told_to_stop_by_a_callback_get_a_held_out_part(bags):
    stops = XGBClassifier(n_estimators=5, n_jobs=1, callbacks=[EarlyStopping(rounds=2)])
    assert "validation_0" in PooledHead(stops, random_state=0).fit(bags, bags.labels).estimator_.evals_result()


def test_a_validation_part_is_looked_at(bags):
    head, y = FrozenEstimator(sklearn.base.clone(small).fit(bags, bags.labels)), bags.labels
    for weights in (np.zeros(len(y)), -np.ones(len(y))):
        for scaled in (TemperatureScaling(head), TemperatureScaling(small)):
            with pytest.raises((LabelError, ValueError), match=r"zero|0 for every|[Nn]egative"):
                scaled.fit(bags, y, eval_set=(bags, y, weights))
    strange = np.where(np.arange(len(y)) == 0, "other", y)
    TemperatureScaling(small).fit(bags, y, eval_set=(bags, strange, (strange == y).astype(float)))
    with pytest.raises(LabelError, match="the validation part has class 'other'"):
        TemperatureScaling(small).fit(bags, y, eval_set=(bags, strange))
    for odd in ([(bags, y)], np.ones(len(y)), (bags, y, None, None)):
        with pytest.raises(SettingError, match=r"eval_set is a .* \(X, y\)"):
            sklearn.base.clone(small).fit(bags, y, odd)


def test_weights_of_any_size_choose_the_same_fusion():
    rng = np.random.default_rng(82)
    y, w = np.arange(30) % 3, rng.uniform(0.1, 3, 30)
    logits = np.stack([np.eye(3)[y] * 3, np.eye(3)[y]])
    expected = best_weights(logits, y, w)
    assert expected[0] > 0.5
    for size in (1e-170, 1e160):
        np.testing.assert_array_equal(best_weights(logits, y, w * size), expected)


class Told(LogisticRegression):
    """Keeps the validation part that it was given."""

    def fit(self, X, y, eval_set=None, sample_weight=None):
        self.told_ = eval_set
        return super().fit(X, y, sample_weight)


def test_weights_of_the_validation_part_reach_every_choice(make_bags):
    bags, other = make_bags(60, apart=0.15), make_bags(60, apart=0.15, seed=1)
    X, y, w = other.means(), other.labels, np.random.default_rng(0).uniform(0.1, 10, 60)
    codes = np.searchsorted(np.unique(y), y)
    head = TemperatureScaling(Told()).fit(bags.means(), bags.labels, eval_set=(X, y, w))
    np.testing.assert_array_equal(head.estimator_.told_[2], w)
    inner = logits_of(head.estimator_, X)
    assert head.temperature_ == fit_temperature(inner, codes, sample_weight=w) != fit_temperature(inner, codes)
    fusion = LogitFusion([("bayes", GaussianNB()), ("logistic", Told())]).fit(bags.means(), bags.labels, (X, y, w))
    logits = np.stack([logits_of(estimator, X) for estimator in fusion.estimators_])
    expected = best_weights(logits, codes, w)
    assert list(fusion.weights_.values()) == expected.tolist() != best_weights(logits, codes).tolist()


@pytest.mark.parametrize("kind", ["network", "xgboost"])
def test_weights_of_the_validation_part_count_in_early_stopping(kind, make_bags):
    bags, other = make_bags(60, apart=0.15), make_bags(60, apart=0.15, seed=1)
    losses = []
    for w in (None, heavy(other.labels, other.labels[0], 50.0)):
        given = (other, other.labels) if w is None else (other, other.labels, w)
        if kind == "network":
            losses.append(sklearn.base.clone(small).fit(bags, bags.labels, given).validation_loss_)
        else:
            fitted = PooledHead(booster).fit(bags, bags.labels, given).estimator_
            losses.append(fitted.evals_result()["validation_0"]["mlogloss"])
    assert losses[0][0] != pytest.approx(losses[1][0], abs=1e-3)
