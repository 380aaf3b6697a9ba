"""The torch side of the heads says what their numpy side does, and its gradient is that of what is predicted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from featstore.errors import ModelError
from featstore.explain.contributions import bags_of, log_odds
from featstore.explain.heads import head_logits, mlp_heads, score_and_gradient
from featstore.toolkit import FoldEnsemble, MLPHead, m4, m5


@pytest.fixture(scope="module", params=["m4", "m5", "deep", "bare"])
def model(request, bags):
    makers = {
        "m4": lambda: m4(0, 3),
        "m5": lambda: m5(0, 3),
        "deep": lambda: m5(0, 2, heads=[("a", MLPHead(hidden=(16, 8))), ("b", MLPHead(hidden=(), level="image"))]),
        "bare": lambda: FoldEnsemble(MLPHead(hidden=(9,), max_epochs=5), 2, random_state=0),
    }
    return makers[request.param]().fit(bags, bags.labels)


@pytest.fixture
def embeddings(rng):
    return rng.standard_normal((4, 12)).astype(np.float32)


def test_each_head_gives_the_logits_that_numpy_gives(model, embeddings) -> None:
    import torch

    pairs = [pair for fold in mlp_heads(model) for pair in fold]
    assert pairs
    for _, head in pairs:
        ours = head_logits(head, torch.from_numpy(embeddings).double()).numpy()
        np.testing.assert_allclose(ours, head.logits(bags_of([embeddings]))[0], rtol=1e-5, atol=1e-5)


def test_the_score_is_the_ensemble_s_log_odds(model, embeddings) -> None:
    probabilities = model.predict_proba(bags_of([embeddings]))[0]
    for position in range(4):
        score, _ = score_and_gradient(model, embeddings, position)
        assert score == pytest.approx(log_odds(probabilities, position), rel=1e-4, abs=1e-4)


def test_the_gradient_is_that_of_the_score_as_far_as_it_has_one(bags, embeddings, rng) -> None:
    model = m4(0, 3).fit(bags, bags.labels)
    _, gradient = score_and_gradient(model, embeddings, 1)
    step = 1e-2 * rng.standard_normal(embeddings.shape)
    ends = [log_odds(model.predict_proba(bags_of([(embeddings + s * step).astype(np.float32)])), 1)[0] for s in (1, -1)]
    assert (ends[0] - ends[1]) / 2 == pytest.approx((gradient * step).sum(), rel=0.05, abs=1e-4)


def test_the_order_of_blobs_does_not_matter(model, embeddings, rng) -> None:
    order = rng.permutation(len(embeddings))
    (there, gradient), (back, permuted) = (
        score_and_gradient(model, each, 0) for each in (embeddings, embeddings[order])
    )
    assert there == pytest.approx(back, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(gradient[order], permuted, rtol=1e-4, atol=1e-8)


def test_factors_are_weights_over_temperatures(bags) -> None:
    model = m5(0, 2).fit(bags, bags.labels)
    for fold, pairs in zip(model.estimators_, mlp_heads(model), strict=True):
        weight = fold.weights_["mlp"]
        expected = [weight / fold.estimators_[0].temperature_] if weight else []
        assert [factor for factor, _ in pairs] == pytest.approx(expected)


def test_a_model_without_mlp_heads_has_no_gradient(bags, embeddings) -> None:
    model = m5(0, 2, heads=[("lr", LogisticRegression())]).fit(bags, bags.labels)
    assert not any(mlp_heads(model))
    with pytest.raises(ModelError, match="MLP"):
        score_and_gradient(model, embeddings, 0)
