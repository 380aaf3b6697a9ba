"""A page of whatever a store and a model are: empty, large, of another version."""

from __future__ import annotations

import numpy as np
import pytest

from featstore.store import NewLabel, create_store, open_store, relabel
from featstore.toolkit import m4

from .conftest import Read, numbered, write_pictures


@pytest.mark.parametrize(
    ("images", "sections"),
    [
        ({}, ["data", "scores"]),
        ({"one.png": ("a", "train")}, ["data", "scores"]),
        ({"a.png": ("a", "train"), "b.png": ("a", "train")}, ["data", "scores", "neighbours"]),
        (numbered(("only",), 9, 0), ["data", "scores", "map", "neighbours"]),
        (numbered(("",), 5, 5), ["data", "scores", "map", "neighbours"]),
        (numbered([f"class {n}" for n in range(300)], 600, 3), ["data", "scores", "map", "neighbours"]),
    ],
)
def test_whatever_the_store_holds_there_is_a_page(make_store, page_of, images, sections) -> None:
    page = page_of(make_store(images) if images else make_store({"x.png": ("", "test")}), None)
    if images:
        assert page.sections == sections
        assert page.images == len(images)
    Read(page.html.decode())


def test_a_model_of_many_classes_and_no_test_images(make_store, page_of) -> None:
    images = numbered([f"class {n:02d}" for n in range(30)], 150, 0)
    store = make_store(images)
    X = store.bags()
    page = page_of(store, m4(0, 2).fit(X, X.labels))
    read = Read(page.html.decode())
    assert "The 11 smallest classes are drawn as one" in read.text
    assert len(read.table("precision", "recall")) == 30
    assert "Test images" not in read.text


def test_a_model_that_is_of_other_labels_has_no_figures(make_store, page_of) -> None:
    """The members say of their folds what they said, but the labels are others: nothing can be counted as wrong."""
    store = make_store(numbered(("a", "b"), 20, 2))
    X = store.bags()
    model = m4(0, 2).fit(X, np.where(X.labels == "a", "b", "a"))
    page = page_of(store, model)
    assert "errors" not in page.sections
    assert "has not the training images and labels" in page.html.decode()


def test_a_model_of_an_earlier_version_keeps_its_labels(make_store, page_of) -> None:
    store = make_store(numbered(("a", "b"), 20, 2))
    X = store.bags()
    model = m4(0, 2).fit(X, X.labels)
    relabel(store.path, [NewLabel("img_000.png", "b")])
    page = page_of(open_store(store.path), model)
    assert any("fitted on version 1 of the store" in note for note in page.notes)
    assert Read(page.html.decode()).table("selection figure")["accuracy"][0] == f"{model.oof_accuracy_:.3f}"


def test_an_earlier_version_without_images_of_the_model_has_a_page(make_store, page_of, tmp_path) -> None:
    """Version 1 lacks images that the model of version 2 was fitted on, errors among them."""
    images = numbered(("a", "b"), 20, 2)
    store = make_store(dict(list(images.items())[:10]), apart=0.1)
    with create_store(store.path, recipe=store.recipe, dim=store.dim) as writer:
        for n, (name, (label, split)) in enumerate(list(images.items())[10:]):
            row = np.random.default_rng(n).standard_normal((1, store.dim)).astype(np.float32)
            writer.add(name, [0], [0], row, label=label, split=split)
    write_pictures(tmp_path, images)
    X = open_store(store.path).bags()
    model = m4(0, 2).fit(X, X.labels)
    earlier = open_store(store.path, version=1)
    assert set(X.images.tolist()) - set(earlier.images)
    page = page_of(earlier, model, tmp_path)
    assert "errors" in page.sections
    assert any("fitted on version 2 of the store" in note for note in page.notes)
