"""Test images are scored only as far as they have nothing to do with what the model was fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featstore.report.fitted import out_of_fold
from featstore.report.sections.unseen import test_section as section_of
from featstore.store import NewLabel, Store, open_store, relabel
from featstore.toolkit import m4
from featstore.toolkit.predictions import predict_images

from .conftest import Read, numbered


@pytest.fixture
def labelled(make_store: Callable[..., Store]) -> Callable[..., tuple[Store, Any]]:
    """A store whose test images have labels, and a model on it."""

    def make(groups: dict[str, str] | None = None) -> tuple[Store, Any]:
        images = numbered(("a", "b"), 20, 0) | {f"test_{n}.png": ("ab"[n % 2], "test") for n in range(8)}
        store = make_store(images, groups, apart=0.3)
        X = store.bags()
        return store, m4(0, 2).fit(X, X.labels)

    return make


def section(store: Store, model: Any) -> Any:
    return section_of(model, store, predict_images(model, store), out_of_fold(model, store))


def test_images_that_the_model_never_saw_are_scored(labelled, page_of) -> None:
    store, model = labelled()
    found = section(store, model)
    right = np.mean([prediction.label == prediction.row.label for prediction in predict_images(model, store)])
    assert found["dropped"] == 0
    assert {name: value for name, value, _ in found["figures"]}["accuracy"] == pytest.approx(right)
    assert "The ensemble was not fitted on them" in Read(page_of(store, model).html.decode()).text


def test_training_images_that_were_moved_to_the_test_split_are_not_scored(labelled, page_of) -> None:
    store, model = labelled()
    relabel(store.path, [NewLabel(f"img_00{n}.png", split="test") for n in range(4)])
    moved = open_store(store.path)
    before, after = section(store, model), section(moved, model)
    assert (after["known"], after["dropped"]) == (12, 4)
    assert after["figures"] == before["figures"]
    text = Read(page_of(moved, model).html.decode()).text
    assert "4 of them are not scored" in text
    assert "The ensemble was not fitted on them" not in text


def test_neither_are_images_of_a_group_that_it_was_fitted_on(labelled) -> None:
    store, model = labelled({"img_003.png": "p", "test_1.png": "p", "test_5.png": "q", "test_7.png": "q"})
    found = section(store, model)
    assert (found["known"], found["dropped"]) == (8, 1)


def test_nor_is_any_where_it_is_not_known_what_the_model_was_fitted_on(labelled, page_of) -> None:
    store, model = labelled()
    relabel(store.path, [NewLabel("img_000.png", label="b")])
    model.provenance_ = {"fingerprint": store.fingerprint}
    text = Read(page_of(open_store(store.path), model).html.decode()).text
    assert "8 test images have a label, but there is no score" in text
    assert "was not fitted on" not in text


def test_images_of_one_group_come_and_go_together_in_the_interval(labelled) -> None:
    """Four pairs are no eight images."""
    pairs = {f"test_{n}.png": f"pair {n % 4}" for n in range(8)}
    (_, alone, narrow), (_, together, wide) = (section(*labelled(groups))["figures"][1] for groups in (None, pairs))
    assert alone == together
    assert narrow != wide


def test_nor_is_one_of_a_group_that_an_image_was_of_when_it_was_fitted_on(labelled) -> None:
    """The training image was replaced since, or is of another group now: the model has seen what it was."""
    store, model = labelled({"test_0.png": "p"})
    found = out_of_fold(model, store)
    then = replace(found.rows["img_000.png"], group="p")
    predictions = predict_images(model, store)
    assert section_of(model, store, predictions, found)["dropped"] == 0
    replaced = replace(found, rows={**found.rows, "img_000.png": then})
    assert section_of(model, store, predictions, replaced)["dropped"] == 1
