from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from featstore.toolkit import m4

from .conftest import Read, map_data, numbered, write_pictures

HOSTILE = ("<script>window.hacked=1</script>", '"><img src=x onerror=window.hacked=1>', "{{ 7*7 }}", "a$b$ & c\u202ed")


def test_counts_are_those_of_the_store(fitted, read) -> None:
    store, _ = fitted
    table = read.table("class", "train", "test")
    assert table["ants"] == ["15", "0"]
    assert table["no label"] == ["0", "6"]
    assert f"fingerprint {store.fingerprint[:12]}" in read.text


def test_out_of_fold_figures_are_sklearns_and_called_what_they_are(fitted, read) -> None:
    store, model = fitted
    truth = store.bags().labels
    said = model.classes_[model.oof_probabilities_.argmax(axis=1)]
    figures = read.table("selection figure")
    assert figures["macro-F1"][0] == f"{f1_score(truth, said, average='macro'):.3f}"
    assert figures["accuracy"][0] == f"{np.mean(truth == said):.3f}"
    precision, recall, f1, _ = precision_recall_fscore_support(truth, said, labels=model.classes_)
    per_class = read.table("precision", "recall")
    for place, name in enumerate(model.classes_):
        told = per_class[name]
        assert (told[0], told[2], told[3]) == tuple(f"{each[place]:.3f}" for each in (f1, precision, recall))
    assert "Optimistic: no score for new images" in read.text
    assert "There is no honest estimate on this page" in read.text


def test_the_confusion_matrix_is_sklearns(fitted, read) -> None:
    store, model = fitted
    said = model.classes_[model.oof_probabilities_.argmax(axis=1)]
    expected = confusion_matrix(store.bags().labels, said, labels=model.classes_)
    table = read.table("label, predicted")
    assert [[int(cell) for cell in table[name]] for name in model.classes_] == expected.tolist()


def test_calibration_is_told_before_and_after(fitted, read) -> None:
    """Before it, a member's logits are not divided by its temperature."""
    store, model = fitted
    X = store.bags()
    before = np.zeros_like(model.oof_probabilities_)
    for fold, member in enumerate(model.estimators_):
        logits = member.estimator_.logits(X[model.folds_ == fold])
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        before[model.folds_ == fold] = odds / odds.sum(axis=1, keepdims=True)
    codes = np.searchsorted(model.classes_, X.labels)
    for column, probabilities in ((0, model.oof_probabilities_), (2, before)):
        loss = -np.log(probabilities[np.arange(len(codes)), codes]).mean()
        assert read.table("selection figure")["log-loss"][column] == f"{loss:.3f}"
    curves = [rows for rows in read.tables if rows[0] == ["confidence", "share right", "images"]]
    assert [sum(int(row[2]) for row in rows[1:]) for rows in curves] == [45, 45]


def test_groups_stay_in_one_fold(read) -> None:
    assert "no group lies in more than one fold" in read.text
    assert sum(int(row[0]) for row in read.table("val macro-F1").values()) == 45


def test_groups_are_those_that_the_folds_keep_together(make_store, page_of) -> None:
    """A group that reaches into the test split, or has no label, is none that a fold could tear apart."""
    images = numbered(("a", "b"), 8, 4) | {"x.png": ("", "train")}
    store = make_store(images, {"img_000.png": "p", "img_002.png": "p", "test_000.png": "q", "test_001.png": "q"})
    X = store.bags()
    read = Read(page_of(store, m4(0, 2).fit(X, X.labels)).html.decode())
    assert "The labelled training images are of 7 groups" in read.text
    assert "2 folds of 8 images in 7 groups" in read.text


def test_a_class_that_is_called_no_label_is_a_class(make_store, page_of) -> None:
    images = numbered(("no label", "b"), 6, 2)
    page = page_of(make_store(images))
    rows = next(rows for rows in Read(page.html.decode()).tables if rows[0] == ["class", "train", "test"])
    assert rows[1:] == [["b", "3", "0"], ["no label", "3", "0"], ["no label", "0", "2"]]
    assert b"<dt>classes</dt><dd>2<" in page.html
    assert len(set(map_data(page)["looks"]["class"])) == 3


def test_the_map_is_sklearns_pca_and_the_same_each_time(fitted, page, page_of) -> None:
    store, model = fitted
    bags = store.bags("all", repeats=0, labelled=False)
    places = PCA(2, svd_solver="full").fit_transform(bags.means().astype(np.float64))
    content = map_data(page)
    text = json.dumps(content["item"])
    columns = next(
        dict(entry["attributes"]["data"]["entries"])
        for entry in _objects(content["item"])
        if entry.get("name") == "ColumnDataSource"
    )
    assert np.abs(np.array(columns["x"]) - places[:, 0]).max() < 1e-4
    assert [row["image"] for row in content["told"]] == bags.images.tolist()
    assert "CustomJS" not in text
    assert page_of(store, model).html == page.html


def test_errors_are_those_that_the_model_is_most_sure_of(fitted, page, read) -> None:
    store, model = fitted
    X = store.bags()
    said = model.oof_probabilities_.argmax(axis=1)
    wrong = np.flatnonzero(model.classes_[said] != X.labels)
    first = wrong[np.argsort(-model.oof_probabilities_.max(axis=1)[wrong], kind="stable")][:12]
    shown = [place for place in X.images[first] if place in read.text.split("The most confident errors")[-1]]
    assert shown == X.images[first].tolist()
    assert f"with confidence {model.oof_probabilities_[first[0]].max():.3f}" in read.text


def test_errors_that_are_not_shown_are_counted(fitted, page_of, read) -> None:
    text = Read(page_of(*fitted, n_errors=0).html.decode()).text
    _, model = fitted
    wrong = np.sum(model.classes_[model.oof_probabilities_.argmax(axis=1)] != fitted[0].bags().labels)
    assert f"{wrong} images are predicted wrongly out of fold; none was asked" in text
    assert "No image is predicted wrongly" not in text + read.text


def test_neighbours_are_the_nearest_by_cosine(fitted, page) -> None:
    from featstore.report.sections.neighbours import embedded, neighbours_section

    store, _ = fitted
    means = {row.image: mean for row, mean in zip(embedded(store).rows, embedded(store).means, strict=True)}
    section = neighbours_section(embedded(store), {})
    assert [row["image"] for row in section["rows"]] == [f"test_{n:03d}.png" for n in range(6)]
    for row in section["rows"]:
        mine = means[row["image"]]
        cosines = {
            name: mine @ other / np.linalg.norm(mine) / np.linalg.norm(other)
            for name, other in means.items()
            if name.startswith("img")
        }
        nearest = sorted(cosines, key=lambda name: -cosines[name])[:6]
        assert [name for name, _, _ in row["nearest"]] == nearest
        assert row["nearest"][0][2] == pytest.approx(cosines[nearest[0]], abs=1e-6)


def test_what_is_hostile_stands_there_as_text(make_store, page_of, tmp_path) -> None:
    names = [f"{text[:12]} {n}.png" for n in range(6) for text in HOSTILE]
    names = [name.replace("/", "") for name in names]
    images = {name: (HOSTILE[n % 4], "train") for n, name in enumerate(names)} | {f"{HOSTILE[1]}.png": ("", "test")}
    images = {name.replace("/", "_"): row for name, row in images.items()}
    store = make_store(images, {names[0]: HOSTILE[0], names[1]: HOSTILE[0]}, apart=0.1)
    X = store.bags()
    write_pictures(tmp_path, images)
    page = page_of(store, m4(0, 2).fit(X, X.labels), tmp_path, notes=(HOSTILE[0],))
    html = page.html.decode()
    read = Read(html)
    assert page.thumbnails == len(images)
    assert "<script>window" not in html
    assert "<img src=x" not in html
    assert "{{ 7*7 }}" in html
    assert "\u202e" not in html
    assert HOSTILE[0] in read.table("class", "train", "test")
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert sum(tag == "script" for tag, _ in read.tags) == 3


def test_no_request_is_possible_and_no_other_script(read) -> None:
    policies = [a["content"] for tag, a in read.tags if tag == "meta" and a.get("http-equiv")]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; img-src data:;")
    assert "unsafe-eval" not in policies[0]
    assert "'unsafe-inline'; script-src 'sha256-" in policies[0]
    for tag, attributes in read.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)


def test_every_picture_and_place_is_named(read) -> None:
    for tag, attributes in read.tags:
        if tag == "img":
            assert attributes["alt"]
        if attributes.get("role") in ("img", "region"):
            assert attributes["aria-label"]
    ids = [attributes["id"] for _, attributes in read.tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    assert [tag for tag, a in read.tags if a.get("class") == "skip"] == ["a"]
    assert {"main", "data", "scores", "map", "errors", "neighbours"} <= set(ids)


def _objects(value):
    """Walk through all objects of a document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _objects(each)
