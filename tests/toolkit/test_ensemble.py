"""The fold ensemble: no classifier predicts out of fold what it was trained on, and jobs change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier

from featstore.errors import FingerprintMismatchError, LabelError, SettingError
from featstore.toolkit import (
    FoldEnsemble,
    LogitFusion,
    MeanPool,
    MLPHead,
    PooledHead,
    TemperatureScaling,
    m4,
    m5,
    save_model,
)

pooled = make_pipeline(MeanPool(), LogisticRegression())
small = MLPHead(hidden=(8,), max_epochs=5)
trees = PooledHead(XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1, early_stopping_rounds=2))
fused = LogitFusion([("mlp", TemperatureScaling(small)), ("trees", TemperatureScaling(trees))])


class Spy(ClassifierMixin, BaseEstimator):
    """Remembers which images it saw; sure of the class of those, and of the first class for all others."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y, eval_set=None):
        self.classes_ = np.unique(y)
        self.seen, self.validated = dict(zip(X.images, y, strict=True)), list(eval_set[0].images)
        return self

    def predict_proba(self, X):
        known = [self.seen.get(name, self.classes_[0]) for name in X.images]
        return (np.array(known)[:, None] == self.classes_).astype(float)


@pytest.fixture(scope="module")
def spied(make_bags):
    bags = make_bags(60, twins=12)
    return bags, FoldEnsemble(Spy(), n_splits=5, random_state=0).fit(bags, bags.labels)


def test_no_fold_trains_on_what_it_predicts(spied):
    bags, model = spied
    assert (model.oof_probabilities_[:, 0] == 1).all()
    for fold, spy in enumerate(model.estimators_):
        left_out = set(bags.images[model.folds_ == fold])
        assert left_out.isdisjoint(spy.seen)
        assert left_out == set(spy.validated)
        assert len(spy.seen) + len(left_out) == len(bags)


def test_groups_stay_together(spied):
    bags, model = spied
    for group in np.unique(bags.groups):
        assert len(set(model.folds_[bags.groups == group])) == 1


def test_every_fold_has_a_seed_of_its_own_from_the_one(spied, make_bags):
    bags, model = spied
    again = FoldEnsemble(Spy(), n_splits=5, random_state=0).fit(bags, bags.labels)
    seeds = [spy.random_state for spy in model.estimators_]
    assert len(set(seeds)) == 5
    assert seeds == [spy.random_state for spy in again.estimators_]
    np.testing.assert_array_equal(model.folds_, again.folds_)
    other = FoldEnsemble(Spy(), n_splits=5, random_state=1).fit(bags, bags.labels)
    assert (other.folds_ != model.folds_).any()


def test_groups_of_an_array_are_given_to_fit(bags):
    groups = np.arange(60) // 2
    model = FoldEnsemble(LogisticRegression(), n_splits=3, random_state=0)
    model.fit(bags.means(), np.repeat(["a", "b", "c"], 20), groups=groups)
    assert all(len(set(model.folds_[groups == group])) == 1 for group in groups)
    with pytest.raises(LabelError, match="5 groups for 60 images"):
        model.fit(bags.means(), bags.labels, groups=groups[:5])


def test_probabilities_are_the_mean_over_folds(bags, make_bags):
    new = make_bags(20, seed=1)
    model = FoldEnsemble(pooled, n_splits=3, random_state=0).fit(bags, bags.labels)
    expected = np.mean([estimator.predict_proba(new) for estimator in model.estimators_], axis=0)
    np.testing.assert_allclose(model.predict_proba(new), expected, atol=1e-6)
    np.testing.assert_array_equal(model.predict(new), model.classes_[expected.argmax(axis=1)])


def test_scores_are_those_of_the_parts_left_out(bags):
    model = FoldEnsemble(fused, n_splits=3, random_state=0).fit(bags, bags.labels)
    predicted = model.classes_[model.oof_probabilities_.argmax(axis=1)]
    assert model.oof_macro_f1_ == f1_score(bags.labels, predicted, average="macro")
    assert model.oof_accuracy_ == accuracy_score(bags.labels, predicted)
    np.testing.assert_allclose(model.class_prior_, [0.25] * 4)
    for fold, (score, estimator) in enumerate(zip(model.fold_scores_, model.estimators_, strict=True)):
        left_out = model.folds_ == fold
        assert score["fold"] == fold
        assert score["val_accuracy"] == accuracy_score(bags.labels[left_out], predicted[left_out])
        assert score["temperatures"] == {
            name: head.temperature_ for name, head in zip(["mlp", "trees"], estimator.estimators_, strict=True)
        }
        assert score["weights"] == estimator.weights_
        np.testing.assert_allclose(
            model.oof_probabilities_[left_out], estimator.predict_proba(bags[left_out]), atol=1e-12
        )


def test_callback_hears_of_each_fold_in_order(bags):
    heard = []
    model = FoldEnsemble(TemperatureScaling(small), n_splits=3, n_jobs=2, random_state=0)
    model.fit(bags, bags.labels, callback=heard.append)
    assert heard == model.fold_scores_
    assert [list(score["temperatures"]) for score in heard] == [["mlphead"]] * 3


def test_jobs_change_no_byte(make_bags, tmp_path):
    bags = make_bags(60, repeats=1)
    files = []
    for n_jobs in (1, 2):
        model = FoldEnsemble(fused, n_splits=3, n_jobs=n_jobs, random_state=0).fit(bags, bags.labels)
        save_model(model, tmp_path / "some.model")
        files.append((tmp_path / "some.model").read_bytes())
    assert files[0] == files[1]


def test_the_estimator_given_stays_unfitted(bags):
    model = FoldEnsemble(clone(fused), n_splits=2, random_state=0).fit(bags, bags.labels)
    assert not hasattr(model.estimator, "weights_")
    assert model.estimator.estimators[0][1].estimator.random_state is None


def test_another_fingerprint_is_refused(make_bags):
    bags, other = make_bags(40, fingerprint="a" * 64), make_bags(10, fingerprint="b" * 64)
    model = FoldEnsemble(pooled, n_splits=2, random_state=0).fit(bags, bags.labels)
    assert model.provenance_ == {"fingerprint": "a" * 64, "version": 1}
    with pytest.raises(FingerprintMismatchError, match=f"{'b' * 64}.*{'a' * 64}.*fit again"):
        model.predict(other)
    assert len(model.predict(make_bags(10))) == 10
    assert len(model.predict(bags.means())) == 40
    free = FoldEnsemble(LogisticRegression(), n_splits=2, random_state=0).fit(bags.means(), bags.labels)
    assert free.provenance_ == {}


def test_a_rare_class_is_an_error_before_anything_is_fitted(make_bags):
    bags = make_bags(30)
    with pytest.raises(LabelError, match=r"'Luminal B' has 7 images.*--folds 7"):
        FoldEnsemble(Spy(), n_splits=10).fit(bags, bags.labels)


@pytest.mark.parametrize("n_splits", [1, 2.5, "ten", None])
def test_folds_are_a_whole_number(n_splits, bags):
    with pytest.raises(SettingError, match="n_splits"):
        FoldEnsemble(pooled, n_splits=n_splits).fit(bags, bags.labels)


def test_a_classifier_without_probabilities_is_told_what_to_do(bags):
    with pytest.raises(SettingError, match=r"TemperatureScaling\(LinearSVC"):
        FoldEnsemble(LinearSVC(), n_splits=2).fit(bags, bags.labels)


@pytest.mark.parametrize("preset", [m4, m5])
def test_presets_learn(preset, bags, make_bags):
    new = make_bags(100, seed=1)
    model = preset(random_state=0, n_splits=3, n_jobs=1).fit(bags, bags.labels)
    assert model.get_params()["n_splits"] == 3
    assert model.score(new, new.labels) > 0.8
    assert model.oof_macro_f1_ > 0.8


def test_m5_fuses_whatever_heads_it_is_given(bags, make_bags):
    heads = [
        ("mlp", MLPHead(max_epochs=10)),
        ("logistic", LogisticRegression()),
        ("histogram", HistGradientBoostingClassifier(max_iter=10, max_depth=2)),
        ("pipeline", make_pipeline(MeanPool(), StandardScaler(), LinearSVC())),
        ("sure", TemperatureScaling(PooledHead(GaussianNB()), bounds=(1.0, 10.0))),
    ]
    model = m5(random_state=0, n_splits=3, heads=heads).fit(bags, bags.labels)
    for score in model.fold_scores_:
        assert list(score["weights"]) == [name for name, _ in heads]
        assert sum(score["weights"].values()) == pytest.approx(1)
        assert score["temperatures"]["sure"] >= 1
    new = make_bags(100, seed=1)
    assert model.score(new, new.labels) > 0.8


def test_the_default_heads_of_m5_are_named_and_can_be_set():
    model = m5()
    assert [name for name, _ in model.estimator.estimators] == ["mlp", "xgboost"]
    assert (
        model.set_params(estimator__mlp__estimator__hidden=()).get_params()["estimator__mlp__estimator__hidden"] == ()
    )
