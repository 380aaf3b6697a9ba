"""Classifiers of others inside the toolkit's: what they are given, and that it means the same there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier
from xgboost.callback import EarlyStopping

from featstore.errors import SettingError
from featstore.evaluate import evaluate
from featstore.toolkit import FoldEnsemble, LogitFusion, MeanPool, PooledHead, TemperatureScaling, m4, m5

SHUFFLED = StratifiedKFold(5, shuffle=True, random_state=0)
logistic = LogisticRegression()


@pytest.mark.parametrize("as_head", [False, True], ids=["alone", "in m5"])
def test_a_search_inside_does_not_find_repeats_on_both_sides(as_head, make_bags):
    """The nearest row of one that has repeats is its own repeat, whatever the label."""
    bags = make_bags(80, repeats=4, apart=0)
    search = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 25]}, cv=SHUFFLED)
    model = m5(0, 2, heads=[("search", search)]) if as_head else PooledHead(search)
    fitted = model.fit(bags, bags.labels)
    inner = fitted.estimators_[0].estimators_[0].estimator_ if as_head else fitted
    assert inner.estimator_.best_score_ < 0.5


@pytest.mark.parametrize(
    ("classifier", "alone"),
    [
        (CalibratedClassifierCV(KNeighborsClassifier(), cv=2), True),
        (StackingClassifier([("a", KNeighborsClassifier())], cv=2), True),
        (FoldEnsemble(KNeighborsClassifier(), 2), True),
        (make_pipeline(StandardScaler(), TemperatureScaling(KNeighborsClassifier())), True),
        (HistGradientBoostingClassifier(early_stopping=True, max_iter=3), True),
        (make_pipeline(StandardScaler(), MLPClassifier((2,), early_stopping=True, max_iter=300)), True),
        (GradientBoostingClassifier(n_iter_no_change=2, n_estimators=2), True),
        (HistGradientBoostingClassifier(max_iter=3), False),
        (MLPClassifier((2,), max_iter=400, tol=1), False),
        (GradientBoostingClassifier(n_estimators=2), False),
        (KNeighborsClassifier(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_who_splits_rows_gets_clean_ones(classifier, alone, bags, monkeypatch):
    seen = []
    rows = PooledHead._rows

    def noted(self, images, repeats, of_class):
        seen.append(repeats)
        return rows(self, images, repeats, of_class)

    monkeypatch.setattr(PooledHead, "_rows", noted)
    PooledHead(classifier).fit(bags, bags.labels)
    assert seen == ["clean" if alone else "all"]


@pytest.mark.parametrize(
    "classifier",
    [
        logistic,
        GradientBoostingClassifier(n_estimators=5, random_state=0),
        HistGradientBoostingClassifier(max_iter=5),
        LinearDiscriminantAnalysis(),
        GaussianNB(),
        make_pipeline(StandardScaler(), logistic),
        XGBClassifier(n_estimators=5, n_jobs=1),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_probabilities_are_those_of_the_classifier(classifier, n_classes, make_bags):
    bags = make_bags(60, n_classes=n_classes, apart=0.3, repeats=0)
    X, codes = bags.means().astype(np.float64), np.unique(bags.labels, return_inverse=True)[1]
    expected = clone(classifier).fit(X, codes).predict_proba(X)
    for wrapped in (PooledHead(classifier), LogitFusion([("only", PooledHead(classifier))], random_state=0)):
        if isinstance(wrapped, LogitFusion):
            fitted = wrapped.fit(X, bags.labels, eval_set=(X, bags.labels))
        else:
            fitted = wrapped.fit(bags, bags.labels)
        np.testing.assert_allclose(fitted.predict_proba(X), expected, atol=1e-6)


def test_a_classifier_of_other_classes_is_refused(bags, make_bags):
    three = bags[bags.labels != bags.labels[0]]
    other = bags[bags.labels != bags.labels[1]]
    frozen = FrozenEstimator(make_pipeline(MeanPool(), logistic).fit(three, three.labels))
    with pytest.raises(SettingError, match="knows the classes"):
        LogitFusion([("frozen", frozen)]).fit(other, other.labels)
    alone = FrozenEstimator(clone(logistic).fit(three.means(), three.labels))
    with pytest.raises(SettingError, match="knows the classes"):
        PooledHead(alone).fit(other, other.labels)


def test_columns_of_pairs_are_refused_also_where_there_are_as_many(make_bags):
    for n_classes in (3, 4):
        bags = make_bags(60, n_classes=n_classes)
        head = PooledHead(SVC(decision_function_shape="ovo")).fit(bags, bags.labels)
        with pytest.raises(SettingError, match=r'Set decision_function_shape="ovr"'):
            head.predict(bags)
    two = make_bags(60, n_classes=2)
    assert PooledHead(SVC(decision_function_shape="ovo")).fit(two, two.labels).score(two, two.labels) > 0.9


def frame(n: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"stain": rng.normal(size=n), "site": rng.choice(["left", "right"], n), "age": rng.normal(size=n)})
    return X, np.where(X["stain"] > 0, "yes", "no")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: TemperatureScaling(inner, random_state=0),
        lambda inner: LogitFusion([("one", inner), ("two", inner)], random_state=0),
        lambda inner: FoldEnsemble(inner, 3, random_state=0),
    ],
    ids=["temperature", "fusion", "ensemble"],
)
def test_data_frames_reach_a_pipeline_inside_by_the_names_of_their_columns(wrap):
    X, y = frame()
    columns = ColumnTransformer([("numbers", StandardScaler(), ["stain", "age"])])
    fitted = wrap(make_pipeline(columns, logistic)).fit(X, y)
    assert fitted.score(X, y) > 0.9
    np.testing.assert_array_equal(fitted.feature_names_in_, X.columns)
    with pytest.raises(ValueError, match="stain"):
        fitted.predict(X.rename(columns={"stain": "other"}))


def test_missing_values_reach_who_takes_them():
    X, y = frame(200)
    numbers = X[["stain", "age"]].to_numpy()
    numbers[::5, 1] = np.nan
    assert FoldEnsemble(HistGradientBoostingClassifier(), 2).fit(numbers, y).score(numbers, y) > 0.9
    with pytest.raises(ValueError, match="NaN"):
        FoldEnsemble(logistic, 2).fit(numbers, y)


def test_what_is_fitted_already_can_be_scored_and_averaged(bags):
    fitted = make_pipeline(MeanPool(), StandardScaler(), logistic).fit(bags, bags.labels)
    found = evaluate(FrozenEstimator(fitted), bags, n_splits=3)
    np.testing.assert_allclose(found.probabilities[0], fitted.predict_proba(bags), atol=1e-6)
    ensemble = FoldEnsemble(FrozenEstimator(fitted), 2).fit(bags, bags.labels)
    np.testing.assert_allclose(ensemble.predict_proba(bags), fitted.predict_proba(bags), atol=1e-6)


@pytest.mark.parametrize("routing", [False, True])
def test_searches_are_given_groups_that_they_have_a_use_for(routing, bags):
    pooled = make_pipeline(MeanPool(), logistic)
    with sklearn.config_context(enable_metadata_routing=routing):
        for cv in (2, StratifiedKFold(2), StratifiedGroupKFold(2)):
            evaluate(GridSearchCV(pooled, {"logisticregression__C": [0.1, 1]}, cv=cv), bags, n_splits=2)
        grouped = PooledHead(GridSearchCV(logistic, {"C": [0.1, 1]}, cv=StratifiedGroupKFold(2)))
        assert grouped.fit(bags, bags.labels).score(bags, bags.labels) > 0.8


@pytest.mark.parametrize("routing", [False, True])
def test_class_weights_reach_the_last_step_of_a_pipeline(routing, make_bags):
    bags = make_bags(60, apart=0.15)
    label = bags.labels[0]
    heavy = {name: 20.0 if name == label else 1.0 for name in np.unique(bags.labels)}
    piped = make_pipeline(StandardScaler(), logistic)
    inside = [piped]
    if not routing:  # with it, a search wants to be told what is meant for it
        inside.append(GridSearchCV(piped, {"logisticregression__C": [0.1, 1]}, cv=2))
    with sklearn.config_context(enable_metadata_routing=routing):
        for estimator in inside:
            plain, weighted = (PooledHead(estimator, class_weight=w).fit(bags, bags.labels) for w in (None, heavy))
            assert (weighted.predict(bags) == label).mean() > (plain.predict(bags) == label).mean() + 0.1


def test_early_stopping_needs_a_validation_part(bags, make_bags):
    few = make_bags(8)
    stops = XGBClassifier(n_estimators=5, n_jobs=1, callbacks=[EarlyStopping(rounds=2)])
    assert PooledHead(stops).fit(few, few.labels).estimator_.get_booster().num_boosted_rounds() == 5
    assert stops.callbacks
    piped = make_pipeline(StandardScaler(), XGBClassifier(n_jobs=1, early_stopping_rounds=2))
    with pytest.raises(SettingError, match="Take it out of the pipeline"):
        PooledHead(piped).fit(bags, bags.labels)


def test_groups_of_an_array_keep_twins_together_in_a_hold_out(make_bags):
    """A nearest neighbour that has an image's twin is sure, and a temperature that has seen that trusts it."""
    bags = make_bags(60, apart=0, repeats=0)
    X, y = bags.means().repeat(2, axis=0), bags.labels.repeat(2)
    groups = np.arange(60).repeat(2)
    model = TemperatureScaling(PooledHead(KNeighborsClassifier(1)), random_state=0)
    together, apart = clone(model).fit(X, y, groups=groups), clone(model).fit(X, y)
    assert together.temperature_ > 10 * apart.temperature_
    assert evaluate(model, X, y, groups, n_splits=5).figures()["log_loss"]["mean"] < 5


def test_presets_take_any_order_of_bags_and_give_the_same_classifiers(bags):
    turned = bags[::-1]
    one, two = m4(0, 2).fit(bags, bags.labels), m4(0, 2).fit(turned, turned.labels)
    np.testing.assert_array_equal(one.predict_proba(bags), two.predict_proba(bags))
