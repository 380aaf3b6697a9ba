"""``evaluate`` and ``sweep`` on a small store."""

from __future__ import annotations

import csv

import cv2
import pytest


def test_evaluate_reports_what_is_fixed(work, featstore_json, tmp_path) -> None:
    found = featstore_json(
        "evaluate", work / "s.store", "--preset", "m4", "--folds", 3, "--inner-folds", 2, "--out", tmp_path / "e.csv"
    )
    for name in ("macro_f1", "accuracy", "ece", "brier", "log_loss"):
        assert set(found[name]) == {"mean", "std", "ci_low", "ci_high"}
    assert found["macro_f1"]["ci_low"] <= found["macro_f1"]["mean"] <= found["macro_f1"]["ci_high"]
    assert set(found["per_class"]) == set(found["classes"])
    assert sum(row["images"] for row in found["per_class"].values()) == found["images"]
    assert len(found["per_seed"]) == found["seeds"] == 1
    assert 0 <= found["selection_macro_f1"] <= 1
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["images"]
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(found["accuracy"]["mean"])


def test_evaluate_compares_with_another_preset_and_another_store(work, featstore, featstore_json) -> None:
    quick = ("evaluate", work / "s.store", "--preset", "m4", "--folds", 3, "--inner-folds", 2)
    told = featstore(*quick, "--against-preset", "m4")
    assert told.exit_code == 0, told.output
    assert "Less" in told.stdout
    assert "+0.000 to +0.000" in told.stdout
    assert "don't tell the two apart" in told.stdout
    found = featstore_json(*quick, "--repeats", 0, "--against", work / "s.store")["comparison"]
    assert found["macro_f1"] == {"difference": 0, "std": None, "ci_low": 0, "ci_high": 0}


def test_evaluate_says_what_to_do_where_there_are_too_few_images(work, featstore) -> None:
    result = featstore("evaluate", work / "s.store", "--folds", 25)
    assert result.exit_code == 1
    assert "expected at least 25" in result.stderr.replace("\n", " ")
    result = featstore("evaluate", work / "s.store", "--against-preset", "m6")
    assert result.exit_code == 2


def test_two_stores_are_fused(work, small_data, featstore, featstore_json, tmp_path) -> None:
    """The same images by two recipes; here they differ in the margin of the crops."""
    other = tmp_path / "other.store"
    featstore_json("extract", small_data, "--store", other, "--encoder", "stain-texture", "--margin", "0.3")
    both = (work / "s.store", other)
    quick = ("--preset", "m4", "--folds", 3)
    told = featstore_json("fit", *both, *quick, "--model", tmp_path / "both.model", "--repeats", 0)
    assert set(told["folds"][0]["weights"]) == {"mlp_0", "mlp_1"}
    one = featstore_json("predict", tmp_path / "both.model", *both, "--out", tmp_path / "a.csv")
    featstore_json("predict", tmp_path / "both.model", *reversed(both), "--out", tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert one["images"] == 8
    found = featstore_json("evaluate", *both, *quick, "--inner-folds", 2, "--repeats", 0)
    assert 0 < found["macro_f1"]["mean"] <= 1
    wrong = featstore("predict", tmp_path / "both.model", other, "--out", tmp_path / "c.csv")
    assert wrong.exit_code == 1
    assert "on which the model was fitted" in " ".join(wrong.stderr.split())
    assert featstore("fit", *both, "--store-version", 1).exit_code == 2


def test_predictions_with_test_time_augmentation_need_repeats(work, featstore) -> None:
    result = featstore("predict", work / "m.model", work / "s.store", "--tta", "--out", work / "tta.csv")
    assert result.exit_code == 1
    assert "--test-repeats" in result.stderr
    assert not (work / "tta.csv").exists()


def test_nothing_is_written_over_what_is_read(work, featstore, tmp_path) -> None:
    store, model = work / "s.store", work / "m.model"
    packed = tmp_path / "p.h5"
    assert featstore("store", "pack", store, "--out", packed).exit_code == 0
    before = packed.read_bytes()
    for command in (
        ("evaluate", packed, "--out", packed),
        ("fit", packed, "--model", packed),
        ("predict", model, packed, "--out", packed),
        ("predict", model, packed, "--out", model),
        ("predict", model, packed, "--out", tmp_path / "a.csv", "--submission", tmp_path / "a.csv"),
        ("evaluate", store, "--out", store / "e.csv"),
        ("sweep", store, "--out", store),
    ):
        result = featstore(*command)
        assert result.exit_code == 2, command
        assert "what this command reads or writes" in " ".join(result.stderr.replace("│", " ").split())
    assert packed.read_bytes() == before
    assert not (store / "sweep.csv").exists()


def test_stores_that_do_not_belong_together_are_refused(work, featstore, featstore_json, tmp_path, small_data) -> None:
    store, other = work / "s.store", tmp_path / "other.store"
    assert featstore("fit", store, store).exit_code == 2
    (tmp_path / "data").mkdir()
    lines = ["image,label"]
    for number in range(12):
        name = f"train_data/img_{number:04d}.png"
        target = tmp_path / "data" / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((small_data / f"train_data/img_{number + 12:04d}.png").read_bytes())
        lines.append(f"{name},{'AB'[number % 2]}")
    (tmp_path / "data" / "d.csv").write_text("\n".join(lines) + "\n")
    featstore_json("extract", tmp_path / "data" / "d.csv", "--store", other, "--encoder", "stain-texture")
    for command in (("fit", store, other), ("evaluate", store, "--against", other), ("sweep", store, other)):
        result = featstore(*command)
        assert result.exit_code == 1, command
        assert "are other files than those of the same name" in " ".join(result.stderr.split())


def test_a_comparison_keeps_to_the_images_of_both(work, featstore_json, featstore, small_data, tmp_path) -> None:
    lines = (small_data / "train_labels.csv").read_text().splitlines()
    keys = [line.split(",") for line in lines[1:]]
    keys = [key for number, key in enumerate(keys) if number > 9 or key[1] != "Luminal B"]
    table = [f"train_data/{name},train_data/{name.replace('img', 'mask')},{label}" for name, label in keys]
    (small_data / "some.csv").write_text("\n".join(["image,mask,label", *table]) + "\n")
    fewer = tmp_path / "fewer.store"
    featstore_json("extract", small_data / "some.csv", "--store", fewer, "--encoder", "stain-texture")
    quick = ("--preset", "m4", "--folds", 3, "--inner-folds", 2, "--repeats", 0)
    result = featstore("evaluate", work / "s.store", "--against", fewer, *quick)
    assert result.exit_code == 0, result.output
    assert "not used: only those that have embeddings in all" in " ".join(result.stderr.split())
    assert "Less" in result.stdout


def test_sweep_writes_a_row_for_each_setting_and_a_picture(work, featstore_json, tmp_path) -> None:
    out = tmp_path / "new" / "sweep"
    quick = ("--presets", "m4", "--folds", 3, "--seeds", 2, "--max-blobs", "1,10", "--out", out)
    found = featstore_json("sweep", work / "s.store", *quick)
    assert [(row["max_blobs"], row["repeats"]) for row in found["rows"]] == [(1, 0), (1, 1), (10, 0), (10, 1)]
    assert {"macro_f1_mean", "macro_f1_std"} <= set(found["rows"][0])
    assert found["rows"][0]["macro_f1_mean"] != found["rows"][2]["macro_f1_mean"]
    with (out / "sweep.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["macro_f1_mean"]) for row in written] == [row["macro_f1_mean"] for row in found["rows"]]
    assert cv2.imread(str(out / "sweep.png")) is not None


def test_sweep_prints_a_table_of_what_was_varied_and_each_warning_once(work, featstore, small_data, tmp_path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text((small_data / "train_labels.csv").read_text() + "elsewhere.png,A\n")
    result = featstore("sweep", work / "s.store", "--presets", "m4", "--folds", 3, "--seeds", 1, "--labels", labels)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("1 name not in") == 1
    heads, *rows = result.stdout.splitlines()[1:4]
    assert heads.split()[0] == "repeats"
    assert [row.split()[0] for row in rows] == ["0", "1"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--repeats", "0,x"), "no list of whole numbers from 0"),
        (("--repeats", "0,,1"), "no list of different settings"),
        (("--repeats", "1,1"), "no list of different settings"),
        (("--max-blobs", "0"), "no list of whole numbers from 1"),
        (("--presets", "m4,m9"), "'m9' is none of m4, m5"),
    ],
)
def test_sweep_refuses_lists_that_are_none(work, featstore, options, said) -> None:
    result = featstore("sweep", work / "s.store", *options)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_sweep_refuses_repeats_that_are_not_stored(work, featstore) -> None:
    result = featstore("sweep", work / "s.store", "--repeats", "0,7")
    assert result.exit_code == 1
    assert "7" in result.stderr
