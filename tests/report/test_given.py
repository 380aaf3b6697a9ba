from __future__ import annotations

import json

import pytest

from featstore.cnn.published import beside_published, write_tables
from featstore.errors import DataError, FingerprintMismatchError, ModelError
from featstore.evaluate import data_digest, write_rows
from featstore.report import (
    check_evaluation,
    check_reproduction,
    check_sweep,
    find_model,
    read_evaluation,
    read_reproduction,
    read_sweep,
)
from featstore.report.checked import preset_of
from featstore.store import NewLabel, open_store, relabel
from featstore.toolkit import MLPHead, m4, m5, save_model

from .conftest import Read, numbered

FIGURE = {"mean": 0.4321, "std": None, "ci_low": 0.35, "ci_high": 0.51}
ESTIMATE = dict.fromkeys(("macro_f1", "accuracy", "ece", "brier", "log_loss"), FIGURE) | {
    "per_class": {
        "ants": {"images": 15, "f1": 0.5, "precision": None, "recall": 0.25, "f1_ci_low": 0.1, "f1_ci_high": 1}
    },
    "images": 45,
    "groups": 23,
    "folds": 5,
    "seeds": 1,
}
SWEPT = {
    "store": "a.store",
    "preset": "m5",
    "max_blobs": None,
    "images": 9,
    "macro_f1_ci_low": 0.3,
    "macro_f1_ci_high": 0.5,
}
SYSTEM = {"system": "m5", "repeats": 4, "val_accuracy": 0.6, "val_macro_f1": 0.7, "test_macro_f1": None}
SYSTEM |= {"macro_f1": FIGURE, "published": {"val_accuracy": None, "val_macro_f1": 0.4975, "test_macro_f1": 0.4221}}


SCORES = ("val_accuracy", "val_macro_f1", "test_macro_f1")


def write(path, content) -> object:
    path.write_text(json.dumps(content))
    return path


def test_the_honest_estimate_leads(fitted, page_of, tmp_path) -> None:
    page = page_of(*fitted, evaluation=read_evaluation(write(tmp_path / "e.json", ESTIMATE)))
    read = Read(page.html.decode())
    assert "There is no honest estimate" not in read.text
    assert read.table("figure", "std over seeds")["macro-F1"] == ["0.432", "0.350 to 0.510", "-"]
    assert read.text.index("0.432") < read.text.index("Out of fold")


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        ESTIMATE | {"macro_f1": 0.4},
        ESTIMATE | {"images": "45"},
        ESTIMATE | {"per_class": {"a": 1}},
        ESTIMATE | {"per_class": {"a": {"f1": 1}}},
        ESTIMATE | {"images": 10**400},
        ESTIMATE | {"macro_f1": FIGURE | {"mean": 10**400}},
        ESTIMATE | {"macro_f1": FIGURE | {"mean": float("nan")}},
        ESTIMATE | {"seeds": True},
        ESTIMATE | {"groups": -1},
        ESTIMATE | {"preset": ["m5"]},
        ESTIMATE | {"scales": {}},
        ESTIMATE | {"versions": 1},
        ESTIMATE | {"data_digest": 7},
    ],
)
def test_what_is_no_estimate_is_refused(tmp_path, content) -> None:
    with pytest.raises(DataError, match=r"e\.json"):
        read_evaluation(write(tmp_path / "e.json", content))


@pytest.mark.parametrize("text", ["", "{", "\xff", '{"a": 1}', "[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path, text) -> None:
    (tmp_path / "e.json").write_bytes(text.encode("latin-1"))
    for reader in (read_evaluation, read_sweep, read_reproduction):
        with pytest.raises(DataError, match=r"e\.json"):
            reader(tmp_path / "e.json")


def of_store(store) -> dict[str, object]:
    bags = store.bags()
    digest = data_digest(bags.images, bags.labels, bags.groups)
    return {"fingerprint": store.fingerprint, "version": store.version, "data_digest": digest}


def test_an_estimate_of_another_store_is_refused(fitted) -> None:
    store, _ = fitted
    ours = ESTIMATE | of_store(store)
    check_evaluation(ours, store, "e.json")
    with pytest.raises(DataError, match="fingerprint 123"):
        check_evaluation(ours | {"fingerprint": "123"}, store, "e.json")
    with pytest.raises(DataError, match="'wasps'"):
        check_evaluation(ours | {"per_class": {"wasps": {}}}, store, "e.json")
    with pytest.raises(DataError, match="fingerprint unknown"):
        check_evaluation(ESTIMATE, store, "e.json")


@pytest.mark.parametrize(
    "change", [{"label": "b"}, {"split": "test"}, {"group": "with"}], ids=["label", "split", "group"]
)
def test_what_was_found_before_labels_splits_or_groups_changed_is_refused(make_store, change) -> None:
    before = make_store(numbered(("a", "b"), 12, 0), {"img_007.png": "with"}, name="changed.store")
    found = of_store(before)
    relabel(before.path, [NewLabel("img_000.png", **change)])
    after = open_store(before.path)
    estimate = ESTIMATE | found | {"per_class": {}, "versions": [1], "labels": "l.csv"}
    for check, content in (
        (check_evaluation, estimate),
        (check_sweep, [SWEPT | found]),
        (check_reproduction, found),
    ):
        check(content, before, "f.json")
        with pytest.raises(DataError, match=r"on version 1 of the store.* version 2 of .*anew.* --store-version 1"):
            check(content, after, "f.json")


def test_a_sweep_or_a_comparison_of_another_store_is_refused(fitted) -> None:
    store, _ = fitted
    ours, theirs = SWEPT | of_store(store), SWEPT | {"fingerprint": "123", "version": 4, "data_digest": "4"}
    check_sweep([theirs, ours], store, "s.csv")
    check_sweep([SWEPT], store, "s.csv")
    check_reproduction({}, store, "r.json")
    with pytest.raises(DataError, match=r"s\.csv: a sweep on embeddings of fingerprint 123"):
        check_sweep([theirs, theirs], store, "s.csv")
    with pytest.raises(DataError, match=r"r\.json: a comparison on embeddings of fingerprint 123"):
        check_reproduction({"fingerprint": "123"}, store, "r.json")


def test_the_digest_is_of_images_labels_and_groups_and_of_nothing_else() -> None:
    ours = data_digest("abc", "xyx", ["p", "p", "q"])
    assert data_digest("bca", "yxx", [7, 8, 7]) == ours
    others = (("abd", "xyx", "ppq"), ("abc", "xyy", "ppq"), ("abc", "xyx", "pqq"), ("abc", "xyx", "ppp"))
    assert ours not in [data_digest(*each) for each in others]


def test_what_can_not_be_checked_or_is_of_other_settings_is_said(fitted, page_of) -> None:
    def told(**more) -> str:
        return Read(page_of(*fitted, evaluation=ESTIMATE | more).html.decode()).text

    assert "can't be checked" in told()
    ours = of_store(fitted[0])
    assert "can't be checked" not in told(**ours)
    assert "It is of" not in told(**ours, preset="m4", scales=None)
    other = "the model on this page is the preset m4 on all crops"
    assert f"It is of the preset m5 on all crops; {other}" in told(**ours, preset="m5")
    assert f"It is of the preset m4 on scales 1:2; {other}" in told(**ours, preset="m4", scales="1:2")


@pytest.mark.parametrize("scales", [None, (2,), (1, 2), (1, 0)])
@pytest.mark.parametrize("how", ["pool", "concatenate"])
def test_the_preset_of_a_model_is_known(scales, how) -> None:
    sign = ":" if how == "concatenate" else "+"
    words = "" if scales is None else sign.join("tiles" if scale == 0 else str(scale) for scale in scales)
    assert preset_of(m4(scales=scales, how=how)) == ("m4", words)
    assert preset_of(m5(scales=scales, how=how)) == ("m5", words)
    assert preset_of(m5(heads=[("mlp", MLPHead())]))[0] == ""


def test_other_numbers_of_images_are_pointed_out(fitted, page_of) -> None:
    page = page_of(*fitted, evaluation=ESTIMATE | {"images": 44})
    assert "It is of 44 images; this store has 45 labelled training images" in Read(page.html.decode()).text


def test_a_sweep_is_read_from_its_folder_its_table_and_its_json(fitted, page_of, tmp_path) -> None:
    rows = [SWEPT | {"repeats": n, "macro_f1_mean": 0.4 + n / 100, "macro_f1_std": 0.01} for n in (0, 4)]
    write_rows(tmp_path / "sweep.csv", rows)
    write(tmp_path / "s.json", {"rows": rows})
    for path in (tmp_path, tmp_path / "sweep.csv", tmp_path / "s.json"):
        assert read_sweep(path) == rows
    read = Read(page_of(*fitted, sweep=read_sweep(tmp_path)).html.decode())
    assert read.table("repeats", "macro-F1") == {
        "0": ["0.400", "0.010", "0.300 to 0.500"],
        "4": ["0.440", "0.010", "0.300 to 0.500"],
    }
    assert "What other repeats bring" in read.text
    assert "a.store, 9 images" in read.text
    assert "the estimate above" not in read.text
    assert "the estimate above" in Read(page_of(*fitted, sweep=rows, evaluation=ESTIMATE).html.decode()).text


def test_rows_of_scales_are_told_apart(fitted, page_of) -> None:
    rows = [SWEPT | {"repeats": 0, "scales": s, "macro_f1_mean": 0.4, "macro_f1_std": None} for s in ("1", "1:2", None)]
    read = Read(page_of(*fitted, sweep=rows).html.decode())
    assert list(read.table("scales", "macro-F1")) == ["1", "1:2", "all"]
    assert "What other scales bring" in read.text


def test_a_table_that_is_no_sweep_is_refused(tmp_path) -> None:
    (tmp_path / "sweep.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no sweep"):
        read_sweep(tmp_path)
    (tmp_path / "sweep.csv").write_text("a,b\n1\n")
    with pytest.raises(DataError, match="different lengths"):
        read_sweep(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"repeats": [0]},
        {"repeats": "0"},
        {"repeats": None},
        {"max_blobs": 1.5},
        {"scales": {}},
        {"scales": 1},
        {"store": None},
        {"preset": 5},
        {"images": 10**400},
        {"macro_f1_mean": 10**400},
        {"macro_f1_mean": None},
        {"macro_f1_by_seed": "abc"},
        {"macro_f1_by_seed": None},
        {"macro_f1_by_seed": [0.4, "0.5"]},
        {"version": "1"},
    ],
)
def test_rows_of_the_wrong_kinds_are_no_sweep(tmp_path, change) -> None:
    rows = [SWEPT | {"repeats": n, "macro_f1_mean": 0.4, "macro_f1_std": 0.01} for n in (0, 4)]
    path = write(tmp_path / "s.json", {"rows": rows})
    assert read_sweep(path) == rows
    rows[1] |= change
    with pytest.raises(DataError, match="no sweep"):
        read_sweep(write(path, {"rows": rows}))


def test_names_that_look_like_numbers_stay_names(tmp_path) -> None:
    rows = [SWEPT | {"store": "1e3", "scales": "1", "repeats": 0, "macro_f1_mean": 0.4, "macro_f1_std": None}]
    write_rows(tmp_path / "sweep.csv", rows)
    assert read_sweep(tmp_path) == rows


def test_five_systems_with_the_published_figures(fitted, page_of, tmp_path) -> None:
    path = write(tmp_path / "reproduction.json", {"systems": [SYSTEM], "repeats": [SYSTEM]})
    read = Read(page_of(*fitted, reproduction=read_reproduction(path)).html.decode())
    assert read.table("system")["M5"] == ["0.600", "0.700", "0.432", "0.350 to 0.510", "-", "0.497", "0.422"]
    for systems, repeats in (
        ([{"system": "m5"}], []),
        ([{name: value for name, value in SYSTEM.items() if name != "system"}], []),
        ([SYSTEM | {"system": 5}], []),
        ([SYSTEM], [SYSTEM | {"repeats": "4"}]),
        ([SYSTEM], [SYSTEM | {"published": {}}]),
        ([SYSTEM | {"val_accuracy": 10**400}], []),
    ):
        with pytest.raises(DataError, match="no comparison"):
            read_reproduction(write(path, {"systems": systems, "repeats": repeats}))
    with pytest.raises(DataError, match="no comparison"):
        read_reproduction(write(path, {"systems": [SYSTEM], "repeats": [], "images": "9"}))


def test_what_reproduce_writes_is_read(tmp_path, fitted, page_of) -> None:
    """Of a number of repeats only the test score was published."""
    rows = [{"system": "m5", "macro_f1": FIGURE, "repeats": n, **dict.fromkeys(SCORES, 0.5)} for n in (1, 3)]
    write_tables(tmp_path, {"images": 9, "outer_folds": 3, "seeds": 1, **beside_published(rows[:1], rows)})
    read = Read(page_of(*fitted, reproduction=read_reproduction(tmp_path)).html.decode())
    assert read.table("repeats", "published test")["3"][-1] == "0.405"


def test_the_default_model_is_taken_only_where_it_was_fitted_here(fitted, make_store, tmp_path, monkeypatch) -> None:
    store, model = fitted
    other = make_store({f"{n}.png": ("ab"[n % 2], "train") for n in range(9)})
    monkeypatch.chdir(tmp_path)
    assert "there is no ensemble.model" in find_model(None, store)[1]
    save_model(model, "ensemble.model")
    assert find_model(None, store)[1] == ""
    found, why_not = find_model(None, other)
    assert found is None
    assert "was not fitted on this store" in why_not


def test_a_model_that_is_named_must_be_of_this_recipe(fitted, tmp_path) -> None:
    store, model = fitted
    model.provenance_ = {"fingerprint": "123"}
    save_model(model, tmp_path / "m.model")
    with pytest.raises(FingerprintMismatchError, match="fit again"):
        find_model(tmp_path / "m.model", store)
    model.provenance_ = {"fingerprint": "1+2"}
    save_model(model, tmp_path / "m.model")
    with pytest.raises(ModelError, match="2 encoders"):
        find_model(tmp_path / "m.model", store)
    model.provenance_ = {"fingerprint": store.fingerprint, "version": 1}
