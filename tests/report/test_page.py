from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from featstore.report import Subject, make_page
from featstore.report.thumbnails import Originals
from featstore.store import NewLabel, create_store, open_store, relabel
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
    assert [tag for tag, a in read.tags if a.get("class") == "skip"] == ["a"]
    assert {"main", "data", "scores", "map", "errors", "neighbours"} <= set(ids)


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


def test_pictures_of_other_files_are_left_out(make_store, page_of, tmp_path) -> None:
    images = numbered(("a", "b"), 6, 2)
    store = make_store(images)
    write_pictures(tmp_path, [name for name in images if name != "img_000.png"])
    (tmp_path / "img_001.png").write_bytes(b"no image")
    page = page_of(store, None, tmp_path)
    assert page.thumbnails == 6
    assert any("2 images without a picture" in note for note in page.notes)


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


def test_a_page_of_the_challenge_stays_under_15_mb(make_store, monkeypatch, tmp_path) -> None:
    """With pictures that hardly compress."""
    images = numbered(("a", "b", "c", "d"), 691, 477)
    store = make_store(images)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (160, 160, 3), dtype=np.uint8) for _ in range(8)]
    originals = Originals(None, store.images)
    monkeypatch.setattr(originals, "read", lambda name: noise[hash(name) % 8])
    page = make_page(Subject(store, originals))
    assert page.thumbnails == 1168
    assert 5e6 < len(page.html) < 15e6


def _objects(value):
    """Walk through all objects of a document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _objects(each)
