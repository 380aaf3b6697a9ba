"""Temperature scaling: what must hold whatever the classifier."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.fixes import parse_version
from xgboost import XGBClassifier

from featstore.errors import SettingError
from featstore.toolkit import MLPHead, TemperatureScaling, logits_of
from featstore.toolkit.logits import log_loss
from featstore.toolkit.temperature import fit_temperature

can_compare = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"),
    reason="this scikit-learn has no temperature scaling",
)


def drawn(n: int, n_classes: int, seed: int, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits, and labels from the probabilities that they stand for."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, n_classes)) * scale
    return logits, (softmax(logits, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)


def data(n_classes: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    X, y = make_classification(
        600, 12, n_informative=8, n_classes=n_classes, class_sep=0.7, flip_y=0.1, random_state=seed
    )
    return X[:300], y[:300], X[300:], y[300:]


@given(seed=st.integers(0, 10_000), n_classes=st.integers(2, 5), factor=st.floats(0.05, 20))
@settings(max_examples=30, deadline=None)
def test_log_loss_is_no_worse_and_no_neighbour_is_better(seed, n_classes, factor):
    logits, y = drawn(50, n_classes, seed)
    logits = logits * factor
    found = fit_temperature(logits, y)
    best = log_loss(logits / found, y)
    for other in (1.0, found * 1.01, found / 1.01):
        assert best <= log_loss(logits / other, y) + 1e-12


@pytest.mark.parametrize("n_classes", [2, 4])
def test_calibrated_logits_have_a_temperature_near_1(n_classes):
    logits, y = drawn(20_000, n_classes, seed=1)
    assert fit_temperature(logits, y) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("factor", [0.2, 3.0, 50.0])
def test_a_known_scaling_is_found(factor):
    logits, y = drawn(500, 4, seed=2)
    assert fit_temperature(factor * logits, y) == pytest.approx(factor * fit_temperature(logits, y), rel=1e-9)


def test_bounds_hold_where_the_data_has_none():
    logits = np.eye(3)[[0, 1, 2, 0]]
    y = np.array([0, 1, 2, 0])
    assert fit_temperature(logits, y, (0.1, 10)) == 0.1
    assert fit_temperature(-logits, y, (0.1, 10)) == 10
    assert fit_temperature(np.zeros((4, 3)), y) == 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_and_ranking_stay(n_classes):
    X, y, X_val, y_val = data(n_classes)
    scaled = TemperatureScaling(LinearSVC(random_state=0)).fit(X, y, eval_set=(X_val, y_val))
    plain = scaled.estimator_
    np.testing.assert_array_equal(scaled.predict(X_val), plain.predict(X_val))
    assert scaled.score(X_val, y_val) == plain.score(X_val, y_val)


@can_compare
@pytest.mark.parametrize("names", [False, True], ids=["numbers", "strings"])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(C=100),
        LinearSVC(random_state=0),
        SVC(decision_function_shape="ovr"),
        GaussianNB(),
        LinearDiscriminantAnalysis(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), GaussianNB()),
        MLPHead(hidden=(8,), max_epochs=10, random_state=0),
    ],
    ids=["logistic", "linear svm", "svm", "bayes", "discriminant", "pipeline", "pipeline bayes", "mlp"],
)
def test_agrees_with_scikit_learn(model, n_classes, names):
    X, y, X_val, y_val = data(n_classes)
    if names:
        y, y_val = (np.array(["d", "b", "c", "a"])[labels] for labels in (y, y_val))
    with_validation = {"eval_set": (X_val, y_val)} if isinstance(model, MLPHead) else {}
    frozen = FrozenEstimator(model.fit(X, y, **with_validation))
    theirs = CalibratedClassifierCV(frozen, method="temperature").fit(X_val, y_val)
    for ours in (
        TemperatureScaling(frozen).fit(X_val, y_val),
        TemperatureScaling(model).fit(X, y, eval_set=(X_val, y_val)),
    ):
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    # scikit-learn takes a column d of decision values for logits (-d, d), which differ by twice the log-odds.
    doubled = 2 if hasattr(model, "decision_function") and n_classes == 2 else 1
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_
    assert 1 / ours.temperature_ == pytest.approx(doubled * beta, rel=1e-6)


@can_compare
@pytest.mark.parametrize("n_classes", [2, 4])
def test_agrees_with_scikit_learn_on_xgboost_as_far_as_float32_goes(n_classes):
    X, y, X_val, y_val = data(n_classes)
    frozen = FrozenEstimator(XGBClassifier(n_estimators=30, max_depth=3, n_jobs=1).fit(X, y))
    theirs = CalibratedClassifierCV(frozen, method="temperature").fit(X_val, y_val)
    ours = TemperatureScaling(frozen).fit(X_val, y_val)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=5e-5)


@can_compare
def test_agrees_with_scikit_learn_on_bags(bags, make_bags):
    other = make_bags(80, apart=1.0, seed=1)
    frozen = FrozenEstimator(MLPHead(hidden=(8,), random_state=0).fit(bags, bags.labels))
    theirs = CalibratedClassifierCV(frozen, method="temperature").fit(other, other.labels)
    ours = TemperatureScaling(frozen).fit(other, other.labels)
    np.testing.assert_allclose(ours.predict_proba(bags), theirs.predict_proba(bags), rtol=0, atol=1e-6)


class Given(ClassifierMixin, BaseEstimator):
    """Gives back X as decision values."""

    def __init__(self, n_classes=3):
        self.n_classes = n_classes

    def fit(self, X, y):
        self.classes_ = np.arange(self.n_classes)
        return self

    def decision_function(self, X):
        return X


def test_decision_values_that_look_like_probabilities_stay_logits():
    logits, y = drawn(400, 3, seed=5)
    lookalike = softmax(logits, axis=1)
    scaled = TemperatureScaling(FrozenEstimator(Given().fit(None, None))).fit(lookalike, y)
    np.testing.assert_allclose(logits_of(scaled, lookalike), lookalike / scaled.temperature_)


def test_the_toolkits_own_two_class_logits_need_no_doubling(make_bags):
    bags, other = make_bags(200, n_classes=2, apart=0.4), make_bags(2000, n_classes=2, apart=0.4, seed=1)
    head = MLPHead(hidden=(), random_state=0)
    scaled = TemperatureScaling(head).fit(bags, bags.labels, eval_set=(other, other.labels))
    again = TemperatureScaling(FrozenEstimator(scaled)).fit(other, other.labels)
    assert again.temperature_ == pytest.approx(1, abs=1e-6)


def test_validation_part_reaches_the_head(make_bags):
    bags, other = make_bags(60), make_bags(40, seed=1)
    scaled = TemperatureScaling(MLPHead(hidden=(8,), random_state=0), random_state=0)
    scaled.fit(bags, bags.labels, eval_set=(other, other.labels))
    alone = MLPHead(hidden=(8,), random_state=0).fit(bags, bags.labels, eval_set=(other, other.labels))
    np.testing.assert_array_equal(scaled.estimator_.coefs_[0], alone.coefs_[0])
    assert scaled.temperature_ == fit_temperature(alone.logits(other), np.searchsorted(alone.classes_, other.labels))


def test_nothing_to_choose_on_leaves_1(make_bags):
    bags = make_bags(8)
    assert TemperatureScaling(MLPHead(max_epochs=2)).fit(bags, bags.labels).temperature_ == 1


def test_refuses_what_has_no_logits_and_odd_bounds(bags):
    X, y = bags.means(), bags.labels
    with pytest.raises(SettingError, match="6 columns for 4 classes"):
        TemperatureScaling(SVC(decision_function_shape="ovo")).fit(X, y)
    for bounds in [(0, 1), (2, 1), 3, (1,), ("a", "b"), (1, np.inf)]:
        with pytest.raises(SettingError, match="bounds"):
            TemperatureScaling(LogisticRegression(), bounds=bounds).fit(X, y)
