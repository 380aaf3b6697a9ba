from __future__ import annotations

import json

import pytest

from featstore.errors import DataError, FingerprintMismatchError, ModelError
from featstore.evaluate import write_rows
from featstore.report import check_evaluation, find_model, read_evaluation, read_reproduction, read_sweep
from featstore.toolkit import save_model

from .conftest import Read

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


def test_an_estimate_of_another_store_is_refused(fitted) -> None:
    store, _ = fitted
    ours = ESTIMATE | {"fingerprint": store.fingerprint}
    check_evaluation(ours, store, "e.json")
    with pytest.raises(DataError, match="fingerprint 123"):
        check_evaluation(ESTIMATE | {"fingerprint": "123"}, store, "e.json")
    with pytest.raises(DataError, match="'wasps'"):
        check_evaluation(ours | {"per_class": {"wasps": {}}}, store, "e.json")
    with pytest.raises(DataError, match="fingerprint unknown"):
        check_evaluation(ESTIMATE, store, "e.json")


def test_other_numbers_of_images_are_pointed_out(fitted, page_of) -> None:
    page = page_of(*fitted, evaluation=ESTIMATE | {"images": 44})
    assert "The estimate is of 44 images; this store has 45 labelled training images" in Read(page.html.decode()).text


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
    assert "What more repeats or blobs bring" in read.text


def test_a_table_that_is_no_sweep_is_refused(tmp_path) -> None:
    (tmp_path / "sweep.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no sweep"):
        read_sweep(tmp_path)
    (tmp_path / "sweep.csv").write_text("a,b\n1\n")
    with pytest.raises(DataError, match="different lengths"):
        read_sweep(tmp_path)


def test_five_systems_with_the_published_figures(fitted, page_of, tmp_path) -> None:
    path = write(tmp_path / "reproduction.json", {"systems": [SYSTEM], "repeats": [SYSTEM]})
    read = Read(page_of(*fitted, reproduction=read_reproduction(path)).html.decode())
    assert read.table("system")["M5"] == ["0.600", "0.700", "0.432", "0.350 to 0.510", "-", "0.497", "0.422"]
    with pytest.raises(DataError, match="no comparison"):
        read_reproduction(write(path, {"systems": [{"system": "m5"}], "repeats": []}))


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
