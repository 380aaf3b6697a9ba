"""Contributions are what the model says with and without a blob, to the last digit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from featstore.errors import DataError, FingerprintMismatchError, ModelError, SettingError
from featstore.explain import blob_contributions
from featstore.explain.contributions import bags_of, log_odds
from featstore.store import Bags
from featstore.toolkit import m5


@pytest.fixture(scope="module")
def model(bags):
    return m5(0, 3, heads=[("lr", LogisticRegression())]).fit(bags, bags.labels)


def test_they_equal_the_difference_of_two_predictions(vit, picture) -> None:
    explainer = vit.explainer()
    embeddings = explainer.look(picture).embeddings
    found = blob_contributions(explainer.model, embeddings, vit.store.fingerprint)
    whole = explainer.probabilities([embeddings])[0]
    for position in range(2):
        for blob in range(len(embeddings)):
            without = explainer.probabilities([np.delete(embeddings, blob, axis=0)])[0]
            odds = [np.log(p[position] / p[1 - position]) for p in (whole, without)]
            assert found.of(position)[blob] == pytest.approx(odds[0] - odds[1], rel=1e-9)
            np.testing.assert_allclose(found.without[blob], without, rtol=1e-9)
            alone = explainer.probabilities([embeddings[[blob]]])[0]
            np.testing.assert_allclose(found.alone[blob], alone, rtol=1e-9)


def test_of_two_classes_one_gains_what_the_other_loses(vit, picture) -> None:
    found = blob_contributions(vit.models["m5"], vit.explainer().look(picture).embeddings)
    np.testing.assert_allclose(found.of(0), -found.of(1), rtol=1e-9)


def test_the_order_of_blobs_does_not_matter(model, rng) -> None:
    embeddings = rng.standard_normal((5, 12)).astype(np.float32)
    order = rng.permutation(5)
    there, back = (blob_contributions(model, each).of(2) for each in (embeddings, embeddings[order]))
    np.testing.assert_allclose(there[order], back, atol=1e-6)


def test_without_its_only_blob_the_prior_is_left(model, rng) -> None:
    found = blob_contributions(model, rng.standard_normal((1, 12)).astype(np.float32))
    np.testing.assert_array_equal(found.without, model.class_prior_[None])
    np.testing.assert_array_equal(found.alone, found.probabilities[None])
    assert found.of(1)[0] == pytest.approx(log_odds(found.probabilities, 1) - log_odds(model.class_prior_, 1))


def test_twins_of_a_blob_share_its_contribution(model, rng) -> None:
    embeddings = rng.standard_normal((3, 12)).astype(np.float32)
    found = blob_contributions(model, embeddings[[0, 1, 1, 2]]).of(0)
    assert found[1] == pytest.approx(found[2], abs=1e-9)


def test_a_blob_goes_with_all_its_crops(rng) -> None:
    """Left out, or alone, is what the model says of the bag without the others' rows, or with these alone."""
    scale, parent = (np.array(each, np.int32) for each in ([1, 1, 2, 2, 0, 0, 0], [0, 1, 0, 1, 0, 0, 1]))
    embeddings = rng.standard_normal((70, 12)).astype(np.float32)
    X = _scaled(embeddings, np.tile(scale, 10), np.tile(parent, 10))
    labels = np.tile(["a", "b"], 5)
    for how, scales in (("pool", (1, 2)), ("concatenate", (1, 2)), ("concatenate", (2, 0)), ("pool", (2,))):
        model = m5(0, 2, heads=[("lr", LogisticRegression())], scales=scales, how=how).fit(X, labels)
        found = blob_contributions(model, embeddings[:7], scale=scale, parent=parent)
        assert found.without.shape == found.alone.shape == (2, 2)
        for blob in (0, 1):
            own = parent == blob
            alone = model.predict_proba(_scaled(embeddings[:7][own], scale[own], parent[own]))[0]
            np.testing.assert_allclose(found.alone[blob], alone, rtol=1e-9)
            np.testing.assert_allclose(found.without[1 - blob], alone, rtol=1e-9)
    with pytest.raises(SettingError, match="no crops at scale 2"):
        blob_contributions(model, embeddings[:7])


def _scaled(embeddings, scale, parent) -> Bags:
    """Put every seven rows, or all of fewer, into a bag."""
    count = max(len(embeddings) // 7, 1)
    each = len(embeddings) // count
    names, numbers = [f"{n}.png" for n in range(count)], np.tile(np.arange(each, dtype=np.int32), count)
    starts = np.arange(count) * each
    return Bags.from_sorted(embeddings, numbers, np.zeros_like(numbers), names, starts, scale=scale, parent=parent)


def test_log_odds_keep_their_digits_near_one() -> None:
    sure = np.array([1 - 1e-30, 1e-30])
    assert log_odds(sure, 0) == pytest.approx(30 * np.log(10))
    assert np.isfinite(log_odds(np.array([1.0, 0.0]), 0))
    assert log_odds(np.array([1.0, 0.0]), 1) < -600


def test_what_can_not_be_asked(model, vit, bags) -> None:
    with pytest.raises(DataError, match="without a blob"):
        bags_of([np.zeros((0, 12), np.float32)])
    with pytest.raises(ModelError, match="class prior"):
        blob_contributions(model.estimators_[0], np.zeros((2, 12), np.float32))
    with pytest.raises(FingerprintMismatchError):
        blob_contributions(vit.models["m4"], np.zeros((2, 24), np.float32), "0" * 64)
