"""Any classifier on image means."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from xgboost import XGBClassifier

from featstore.errors import SettingError
from featstore.toolkit import PooledHead, logits_of
from featstore.toolkit.logits import softmax

quick = {"n_estimators": 40, "max_depth": 2, "n_jobs": 1, "random_state": 0}


class Spy(LogisticRegression):
    """Keeps what it was given."""

    def fit(self, X, y, sample_weight=None):
        self.given = (X, y, sample_weight)
        return super().fit(X, y, sample_weight)


def test_a_training_row_for_each_image_and_repeat(bags):
    head = PooledHead(Spy()).fit(bags, bags.labels)
    X, y, weights = head.estimator_.given
    means = bags.repeat_means()
    np.testing.assert_array_equal(X, means.embeddings)
    np.testing.assert_array_equal(head.classes_[y], bags.labels[means.image])
    assert len(X) == len(bags) * 3
    assert weights is None


def test_an_image_counts_once_however_many_repeats_it_has(make_bags):
    few, many = make_bags(8, repeats=0), make_bags(16, repeats=3)
    rows = [few.instances("all"), many[8:].instances("all")]
    images = np.concatenate([few.images[rows[0].image], many[8:].images[rows[1].image]])
    both = type(few).from_rows(
        np.concatenate([r.embeddings for r in rows]),
        images,
        np.concatenate([r.blob for r in rows]),
        np.concatenate([r.repeat for r in rows]),
    )
    head = PooledHead(Spy()).fit(both, many.labels)
    _, _, weights = head.estimator_.given
    of_image = np.bincount(both.repeat_means().image, weights)
    np.testing.assert_allclose(of_image, of_image[0])
    with pytest.raises(SettingError, match="sample_weight"):
        PooledHead(KNeighborsClassifier()).fit(both, many.labels)


def test_xgboost_takes_strings_and_stops_early(bags, make_bags):
    other = make_bags(40, seed=1)
    head = PooledHead(XGBClassifier(early_stopping_rounds=3, **quick))
    head.fit(bags, bags.labels, eval_set=(other, other.labels))
    assert set(head.predict(other)) <= set(bags.labels)
    assert head.score(other, other.labels) > 0.7
    assert head.estimator_.best_iteration < 40
    head.fit(bags, bags.labels)
    assert head.estimator_.evals_result()["validation_0"]


def test_early_stopping_is_off_where_nothing_can_be_held_out(make_bags):
    bags = make_bags(8)
    head = PooledHead(XGBClassifier(early_stopping_rounds=3, **quick)).fit(bags, bags.labels)
    assert head.estimator_.get_booster().num_boosted_rounds() == 40


@pytest.mark.parametrize("n_classes", [2, 4])
def test_xgboosts_logits_are_its_margin(n_classes, make_bags):
    bags = make_bags(40, n_classes=n_classes)
    head = PooledHead(XGBClassifier(**quick)).fit(bags, bags.labels)
    assert head.logits(bags).shape == (40, n_classes)
    np.testing.assert_allclose(head.predict_proba(bags), head.estimator_.predict_proba(bags.means()), atol=1e-6)


def test_probabilities_only_will_do(bags):
    head = PooledHead(HistGradientBoostingClassifier(max_iter=10)).fit(bags, bags.labels)
    assert head.score(bags, bags.labels) > 0.8
    knn = PooledHead(KNeighborsClassifier()).fit(bags, bags.labels)
    np.testing.assert_allclose(softmax(logits_of(knn, bags)), knn.estimator_.predict_proba(bags.means()), atol=1e-12)


def test_class_weight_reaches_the_classifier(bags):
    head = PooledHead(Spy(), class_weight={name: i + 1 for i, name in enumerate(np.unique(bags.labels))})
    _, y, weights = head.fit(bags, bags.labels).estimator_.given
    np.testing.assert_allclose(weights / weights.min(), y + 1)
