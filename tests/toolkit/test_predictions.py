"""Every image of a split has a prediction, in the order of the input."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from featstore.errors import DataError, FingerprintMismatchError, ModelError
from featstore.store import create_store, open_store
from featstore.toolkit import MLPHead, m4
from featstore.toolkit.predictions import predict_images, write_predictions, write_submission

DIM = 5


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("predict") / "x.store", np.random.default_rng(0)
    with create_store(path, {"a": 1}, DIM) as writer:
        for number in range(24):
            embeddings = rng.normal(size=(3, DIM)) + 3 * (number % 2)
            writer.add(f"train/{number:02d}.png", [0, 1, 2], [0] * 3, embeddings, label="ab"[number % 2])
        for position, name in enumerate(("zebra.png", "ape.png", "bad.png")):
            facts = {"sample_index": name, "position": position, "split": "test"}
            if name == "bad.png":
                writer.register(name, **facts, reason="unreadable", note="it is empty")
            else:
                writer.add(name, [0], [0], np.full((1, DIM), 3.0 * position), facts={**facts, "note": "a fallback"})
    return open_store(path)


@pytest.fixture(scope="module")
def model(store):
    bags = store.bags()
    return m4(random_state=0, n_splits=2).fit(bags, bags.labels)


def test_rows_in_the_order_of_the_input(store, model):
    predictions = predict_images(model, store)
    assert [prediction.row.image for prediction in predictions] == ["zebra.png", "ape.png", "bad.png"]
    assert [prediction.label for prediction in predictions[:2]] == ["a", "b"]
    assert predictions[0].note == "a fallback"
    assert "unreadable" in predictions[2].note
    np.testing.assert_array_equal(predictions[2].probabilities, model.class_prior_)


def test_a_model_without_a_class_prior_makes_nothing_up(store, tmp_path):
    bags = store.bags()
    head = MLPHead(hidden=(4,), max_epochs=2, random_state=0).fit(bags, bags.labels)
    with pytest.raises(ModelError, match=r"1 of the images without embeddings, and a MLPHead has no class prior"):
        predict_images(head, store)
    assert len(predict_images(head, store, "train")) == 24
    with pytest.raises(ModelError, match="a StandardScaler predicts no class"):
        predict_images(StandardScaler().fit(bags.means()), store)


def test_probabilities_that_are_no_numbers_are_refused(store, model, monkeypatch):
    monkeypatch.setattr(type(model), "predict_proba", lambda _, X: np.full((len(X), 2), np.nan))
    with pytest.raises(ModelError, match=r"for ape.png are no numbers \(2 such images\).*fit the model again"):
        predict_images(model, store)


def test_files(store, model, tmp_path):
    predictions = predict_images(model, store, "all")
    assert len(predictions) == 27
    write_predictions(tmp_path / "p.csv", predictions, model.classes_, keys=True)
    write_submission(tmp_path / "s.csv", predictions)
    with (tmp_path / "p.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["sample_index", "label", "confidence", "prob_a", "prob_b", "note", "image"]
    assert len({row["image"] for row in rows}) == 27
    assert (tmp_path / "s.csv").read_text().splitlines()[0] == "sample_index,label"
    assert b"\r" not in (tmp_path / "p.csv").read_bytes()


def test_no_such_images(model, tmp_path):
    with create_store(tmp_path / "y.store", {"a": 1}, DIM) as writer:
        writer.add("only.png", [0], [0], np.zeros((1, DIM)), label="a")
    with pytest.raises(DataError, match="no test images"):
        predict_images(model, open_store(tmp_path / "y.store"))


def test_embeddings_of_another_recipe_are_refused(model, tmp_path):
    with create_store(tmp_path / "z.store", {"a": 2}, DIM) as writer:
        writer.add("x.png", [0], [0], np.zeros((1, DIM)), split="test")
    with pytest.raises(FingerprintMismatchError, match="fit again"):
        predict_images(model, open_store(tmp_path / "z.store"))


def test_test_time_augmentation_averages_over_the_repeats_that_an_image_has(model, tmp_path):
    rng, clean = np.random.default_rng(1), np.full((1, DIM), 1.5)
    with create_store(tmp_path / "r.store", {"a": 1}, DIM) as writer:
        repeated = clean + rng.normal(size=(3, DIM))
        writer.add("three.png", [0] * 3, [0, 1, 2], repeated, facts={"split": "test"})
        writer.add("one.png", [0], [0], clean, facts={"split": "test"})
    store = open_store(tmp_path / "r.store")
    found = {prediction.row.image: prediction.probabilities for prediction in predict_images(model, store, tta=True)}
    plain = {prediction.row.image: prediction.probabilities for prediction in predict_images(model, store)}
    np.testing.assert_allclose(found["three.png"], model.predict_proba(repeated).mean(axis=0), rtol=1e-6)
    assert not np.allclose(found["three.png"], plain["three.png"])
    np.testing.assert_array_equal(found["one.png"], plain["one.png"])


def test_test_time_augmentation_needs_repeats(store, model):
    with pytest.raises(DataError, match=r"no augmented repeats of test images.*--test-repeats 4"):
        predict_images(model, store, tta=True)
