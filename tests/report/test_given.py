from __future__ import annotations

import json

import pytest

from featstore.cnn.published import beside_published, write_tables
from featstore.errors import DataError
from featstore.evaluate import write_rows
from featstore.report import (
    read_evaluation,
    read_reproduction,
    read_sweep,
)

from .conftest import ESTIMATE, FIGURE, SWEPT, Read

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
