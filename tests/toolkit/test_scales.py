"""Bags of several scales, and what is learned on them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from featstore.errors import DataError, SettingError
from featstore.store import create_store, open_store
from featstore.store.bags import Bags
from featstore.toolkit import MeanPool, MLPHead, OnScales, PooledHead, ScalePool, load_model, m4, m5, save_model

DIM = 6


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Forty images of two blobs: the label is seen at scale 2 alone; a tile for each blob, and one more for the first.

    Numbers are those of an extraction: blobs 0 and 1, at scale 2 they are 2 and 3, tiles are 4 to 6.
    """
    path, rng = tmp_path_factory.mktemp("scales") / "s.store", np.random.default_rng(0)
    boxes = [[n, 9, 0, 0, 3, 3, *of] for n, of in enumerate([(1, 0), (1, 1), (2, 0), (2, 1), (0, 0), (0, 0), (0, 1)])]
    with create_store(path, {"encoder": "none"}, DIM) as writer:
        for number in range(40):
            blob, repeat = (part.ravel() for part in np.meshgrid(range(7), range(2), indexing="ij"))
            rows = rng.standard_normal((14, DIM)).astype(np.float32)
            rows[(blob == 2) | (blob == 3), 0] += 6 * (number % 2)
            split = "test" if number < 4 else "train"
            writer.add(f"{number:02d}", blob, repeat, rows, label="AB"[number % 2], split=split, boxes=boxes)
    return open_store(path)


@pytest.fixture(scope="module")
def bags(store) -> Bags:
    return store.bags()


def test_bags_of_some_scales_are_their_rows(store, bags):
    assert bags.scales == [1, 2, 0]
    for scales, blobs in (([1], [0, 1]), ([2], [2, 3]), ([0], [4, 5, 6]), ((2, 1), [0, 1, 2, 3])):
        some = bags.at_scales(scales)
        at, expected = some.instances("all"), store.embeddings(images=bags.images.tolist(), blobs=blobs)
        np.testing.assert_array_equal(at.embeddings, expected)
        assert sorted(set(at.blob.tolist())) == blobs
        assert sorted(some.scales) == sorted(scales)
        assert (some.labels == bags.labels).all()
        assert (some.groups == bags.groups).all()
    assert bags.at_scales([1, 2, 0]) is bags


def test_subsets_and_scales_commute(bags):
    chosen = np.array([5, 3, 17])
    for some, other in ((bags[chosen].at_scales([2]), bags.at_scales([2])[chosen]),):
        np.testing.assert_array_equal(some.instances("all").embeddings, other.instances("all").embeddings)
        np.testing.assert_array_equal(some.at_repeat(1).means(), other.at_repeat(1).means())


def test_side_by_side_each_blob_is_an_instance(store, bags):
    wide = bags.side_by_side([1, 2, 0])
    assert wide.dim == 3 * DIM
    assert wide.scales == [1]
    at = wide.instances("all")
    assert list(zip(at.blob.tolist(), at.repeat.tolist(), strict=True))[:4] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    rows = {(k["image"], k["blob"], k["repeat"]): e for k, e in zip(store.keys, store.embeddings(), strict=True)}
    for image in bags.images[:3].tolist():
        place = bags.images.tolist().index(image)
        mine = at.embeddings[at.image == place]
        np.testing.assert_array_equal(mine[0, : 2 * DIM], np.concatenate([rows[image, 0, 0], rows[image, 2, 0]]))
        np.testing.assert_allclose(mine[0, 2 * DIM :], (rows[image, 4, 0] + rows[image, 5, 0]) / 2, rtol=1e-6)
        np.testing.assert_array_equal(mine[3, 2 * DIM :], rows[image, 6, 1])
    halves = [bags.at_scales([scale]).means() for scale in (1, 2)]
    np.testing.assert_allclose(wide.means()[:, : 2 * DIM], np.concatenate(halves, axis=1), rtol=1e-5, atol=1e-6)


def test_the_largest_blobs_come_with_their_crops_at_other_scales(store):
    first = store.bags(max_blobs=1).instances("clean")
    assert set(first.blob.tolist()) == {0, 2, 4, 5}


def test_scales_that_are_not_there_are_told(bags, make_bags):
    with pytest.raises(SettingError, match="no crops at scale 4; expected some of scale 1, scale 2, tiles"):
        bags.at_scales([1, 4])
    with pytest.raises(SettingError, match="no crops at tiles"):
        make_bags().side_by_side([1, 0])
    for scales in ([], [1, 1], "12", [1.0], [True]):
        with pytest.raises(SettingError, match="expected a list of different scales"):
            bags.at_scales(scales)


def test_a_blob_without_a_scale_can_not_be_put_side_by_side(tmp_path):
    boxes = [[0, 9, 0, 0, 3, 3, 1, 0], [1, 9, 0, 0, 3, 3, 1, 1], [2, 9, 0, 0, 3, 3, 2, 1]]
    with create_store(tmp_path / "s.store", {}, 2) as writer:
        writer.add("a", [0, 1, 2], [0, 0, 0], np.ones((3, 2)), label="A", boxes=boxes)
        writer.add("b", [0], [0], np.ones((1, 2)), label="B")
    bags = open_store(tmp_path / "s.store").bags()
    with pytest.raises(DataError, match="blobs or repeats that scale 2"):
        bags.side_by_side([1, 2])
    with pytest.raises(DataError, match="1 of 2 images have no crop"):
        bags.at_scales([2])


def test_crops_at_scales_that_no_longer_count_leave_bags_of_blobs(tmp_path):
    """The only image with a tile was replaced by another file, and of others no box is known."""
    path, rows = tmp_path / "s.store", np.ones((2, 2))
    for sha256, boxes in (("one", [[0, 9, 0, 0, 3, 3, 1, 0], [1, 9, 0, 0, 3, 3, 0, 0]]), ("other", [])):
        with create_store(path, {}, 2) as writer:
            facts = {"sha256": sha256, "label": "A", "blobs": 2}
            writer.add("a", [0, 1], [0, 0], rows, facts=facts, boxes=boxes)
    bags = open_store(path).bags()
    assert (len(bags), bags.scales) == (1, [1])
    assert bags.instances().embeddings.shape == (2, 2)


def test_a_store_of_one_scale_is_as_it_was(make_bags):
    bags = make_bags(20)
    assert bags.scales == [1]
    assert bags.at_scales([1]) is bags
    np.testing.assert_array_equal(ScalePool().fit_transform(bags), MeanPool().fit_transform(bags))


def test_pooling_weighs_scales_not_crops(bags):
    parts = [bags.at_scales([scale]).means() for scale in (1, 2, 0)]
    np.testing.assert_allclose(ScalePool().fit_transform(bags), np.mean(parts, axis=0), rtol=1e-5, atol=1e-6)
    weighted = ScalePool((1, 0), weights=(3, 1)).fit_transform(bags)
    np.testing.assert_allclose(weighted, 0.75 * parts[0] + 0.25 * parts[2], rtol=1e-5, atol=1e-6)
    beside = ScalePool((1, 2), how="concatenate", weights=(1, 2)).fit_transform(bags)
    np.testing.assert_array_equal(beside, np.concatenate([parts[0], 2 * parts[1]], axis=1))


ODD_SCALES = [2, 1.0, "12", (), (1, 1), (1.0,), (True,), (-1,), np.array([1.0, 2.0]), np.ones((1, 1), int), {1, 2}]


@pytest.mark.parametrize(
    "given",
    [{"how": "both"}, {"how": None}, {"how": ["pool"]}]
    + [{"weights": odd} for odd in (1.0, (1,), (0, 0, 0), (1, -1, 1), (1, np.nan, 1), "111", (1, 1, "1"))]
    + [{"scales": odd} for odd in ODD_SCALES],
    ids=str,
)
def test_settings_of_pooling_are_checked(bags, given):
    with pytest.raises(SettingError, match="expected"):
        ScalePool(**given).fit(bags)


@pytest.mark.parametrize(
    "given", [{"how": "both"}, {"scales": None}] + [{"scales": odd} for odd in ODD_SCALES], ids=str
)
def test_settings_of_heads_on_scales_are_checked(bags, given):
    with pytest.raises(SettingError, match="expected"):
        OnScales(MLPHead(max_epochs=1), **given).fit(bags, bags.labels)
    if given.get("scales", 1) is not None:
        for preset in (m4, m5):
            with pytest.raises(SettingError, match="expected"):
                preset(**given)


def test_scales_may_be_an_array(bags):
    given = np.array([1, 2])
    np.testing.assert_array_equal(
        ScalePool(given, weights=np.array([3, 1])).fit_transform(bags),
        ScalePool((1, 2), weights=(3, 1)).fit_transform(bags),
    )
    heads = [OnScales(PooledHead(LogisticRegression()), some).fit(bags, bags.labels) for some in (given, (1, 2))]
    np.testing.assert_array_equal(heads[0].logits(bags), heads[1].logits(bags))
    assert m4(scales=given).estimator.estimator.scales == (1, 2)


def test_scales_go_through_scikit_learn(bags):
    plain = make_pipeline(ScalePool(), LogisticRegression())
    assert clone(plain).set_params(scalepool__scales=(2,)).get_params()["scalepool"].scales == (2,)
    scores = [
        cross_val_score(clone(plain).set_params(scalepool__scales=some), bags, bags.labels, cv=4).mean()
        for some in ((1,), (2,))
    ]
    assert scores[0] < 0.8 < scores[1]
    search = GridSearchCV(plain, {"scalepool__scales": [(1,), (0,), (2,), (1, 2)], "scalepool__how": ["concatenate"]})
    assert 2 in search.fit(bags, bags.labels).best_params_["scalepool__scales"]


@pytest.mark.parametrize("how", ["pool", "concatenate"])
def test_a_head_on_scales_is_the_head_on_their_bags(bags, how):
    seen = bags.at_scales([1, 2]) if how == "pool" else bags.side_by_side([1, 2])
    for head in (PooledHead(LogisticRegression()), MLPHead(max_epochs=3, random_state=0)):
        mine = OnScales(head, (1, 2), how=how).fit(bags, bags.labels)
        alone = clone(head).fit(seen, seen.labels)
        np.testing.assert_array_equal(mine.logits(bags[:9]), alone.logits(seen[:9]))
    held = bags[:10]
    mine = OnScales(MLPHead(max_epochs=3, random_state=0), (1, 2), how=how)
    mine.fit(bags[10:], bags.labels[10:], (held, held.labels), sample_weight=np.arange(1, 27))
    assert len(mine.estimator_.validation_loss_) == 3


@pytest.mark.parametrize(("preset", "how"), [(m4, "pool"), (m5, "concatenate")])
def test_presets_on_scales_are_saved_and_read(store, bags, preset, how, tmp_path):
    model = preset(random_state=0, n_splits=2, scales=(2,), how=how).fit(bags, bags.labels)
    assert model.oof_accuracy_ > 0.8
    save_model(model, tmp_path / "x.model")
    again, test = load_model(tmp_path / "x.model"), store.bags("test", repeats=0, labelled=False)
    np.testing.assert_array_equal(again.predict_proba(test), model.predict_proba(test))
    assert (again.predict(test) == ["A", "B", "A", "B"]).all()
    with pytest.raises(SettingError, match="no crops at scale 2"):
        model.predict_proba(test.at_scales([1]))


def test_a_pool_is_saved_inside_a_pipeline(bags, tmp_path):
    model = make_pipeline(ScalePool((1, 2), how="concatenate"), LogisticRegression()).fit(bags, bags.labels)
    save_model(model, tmp_path / "x.model")
    np.testing.assert_array_equal(load_model(tmp_path / "x.model").predict_proba(bags), model.predict_proba(bags))


def test_a_pipeline_that_pools_scales_is_a_head_as_it_is(bags):
    """It sees the bags, not the mean of all their crops: two scales side by side, and scale 2 tells the classes."""
    head = make_pipeline(ScalePool((1, 2), how="concatenate"), LogisticRegression())
    model = m5(random_state=0, n_splits=2, heads=[("around", head)]).fit(bags, bags.labels)
    (calibrated,) = model.estimators_[0].estimators_
    assert calibrated.estimator_.named_steps["logisticregression"].n_features_in_ == 2 * DIM
    assert model.oof_accuracy_ > 0.8
    blob = make_pipeline(ScalePool((1,)), LogisticRegression())
    assert m5(random_state=0, n_splits=2, heads=[("blob", blob)]).fit(bags, bags.labels).oof_accuracy_ < 0.8
