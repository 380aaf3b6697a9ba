"""Heads on several encoders' embeddings of the same images."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from featstore.errors import DataError, FingerprintMismatchError, SettingError
from featstore.store import create_store, join_bags, open_store
from featstore.toolkit import MLPHead, OnView, PooledHead, load_model, m4, m5, save_model
from featstore.toolkit.predictions import predict_images


@pytest.fixture(scope="module")
def pair(make_bags):
    """Two encoders of which each sees two classes of four well."""
    return make_bags(60, apart=0.9), make_bags(60, dim=5, seed=3, apart=0.9)


@pytest.mark.parametrize("view", [0, 1])
def test_a_head_on_a_view_is_the_head_on_its_bags(pair, view):
    joined, y = join_bags(pair), pair[0].labels
    for head in (PooledHead(LogisticRegression()), MLPHead(max_epochs=5, random_state=0)):
        mine, alone = OnView(head, view).fit(joined, y), head.fit(pair[view], y)
        np.testing.assert_array_equal(mine.logits(joined[:9]), alone.logits(pair[view][:9]))


def test_a_head_must_be_told_which_view(pair):
    joined = join_bags(pair)
    with pytest.raises(DataError, match=r"embeddings of 2 encoders.*OnView\(head, 0\)"):
        MLPHead().fit(joined, joined.labels)
    with pytest.raises(SettingError, match="2 views for a head on view 2"):
        OnView(MLPHead(), 2).fit(joined, joined.labels)
    with pytest.raises(SettingError, match="a Bags for a head on view 0"):
        OnView(MLPHead()).fit(pair[0], pair[0].labels)
    with pytest.raises(SettingError, match="view is -1"):
        OnView(MLPHead(), -1).fit(joined, joined.labels)


@pytest.mark.parametrize(("preset", "heads"), [(m4, 2), (m5, 4)])
def test_presets_fuse_encoders_and_are_better_for_it(pair, make_bags, preset, heads, tmp_path):
    joined = join_bags(pair)
    new = join_bags([make_bags(200, apart=0.9, seed=7), make_bags(200, dim=5, seed=8, apart=0.9)])
    model = preset(random_state=0, n_splits=3, n_views=2).fit(joined, joined.labels)
    assert len(model.fold_scores_[0]["weights"]) == heads
    alone = preset(random_state=0, n_splits=3).fit(pair[0], pair[0].labels)
    assert model.score(new, new.labels) > alone.score(new.views[0], new.labels)
    save_model(model, tmp_path / "x.model")
    np.testing.assert_array_equal(load_model(tmp_path / "x.model").predict_proba(new), model.predict_proba(new))


def test_no_view_is_left_unused(pair):
    three = join_bags([*pair, pair[0]])
    with pytest.raises(SettingError, match=r"3 views for a head on view 0; expected join_bags of 2 "):
        m4(n_splits=2, n_views=2).fit(three, three.labels)


def test_no_views_are_refused():
    with pytest.raises(SettingError, match="n_views is 0"):
        m5(n_views=0)


@pytest.fixture(scope="module")
def stores(tmp_path_factory, pair):
    folder, opened = tmp_path_factory.mktemp("views"), []
    for number, bags in enumerate(pair):
        path = folder / f"{number}.store"
        with create_store(path, {"encoder": number}, bags.dim) as writer:
            for position, bag in enumerate(bags):
                split = "test" if position < 8 else "train"
                facts = {"position": position, "split": split, "label": bag.label}
                if (number, position) != (1, 3):
                    writer.add(
                        bag.image, bag.blob, bag.repeat, bag.embeddings, label=bag.label, split=split, facts=facts
                    )
        opened.append(open_store(path))
    return opened


def test_stores_are_told_apart_by_their_recipes(stores):
    joined = join_bags([store.bags() for store in stores])
    model = m4(random_state=0, n_splits=3, n_views=2).fit(joined, joined.labels)
    found = predict_images(model, stores)
    assert [prediction.row.position for prediction in found] == list(range(8))
    swapped = predict_images(model, stores[::-1])
    np.testing.assert_array_equal([p.probabilities for p in found], [p.probabilities for p in swapped])
    np.testing.assert_array_equal(found[3].probabilities, model.class_prior_)
    assert found[3].note == f"class prior only (no embedding, in {stores[1].path.name})"
    for given in (stores[:1], [stores[0], stores[0]], [*stores, stores[0]]):
        with pytest.raises(FingerprintMismatchError, match="on which the model was fitted"):
            predict_images(model, given)
