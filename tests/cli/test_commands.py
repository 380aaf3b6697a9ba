"""The commands as users type them: their JSON, their files, their exit codes."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

import featstore as library


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_extract_reports_what_is_fixed(small_data, featstore_json, tmp_path):
    arguments = ["extract", small_data, "--store", tmp_path / "s.store", "--encoder", "stain-texture", "--workers", 2]
    first = featstore_json(*arguments)
    keys = {
        "store",
        "version",
        "fingerprint",
        "images",
        "rejected",
        "blobs",
        "embeddings",
        "computed",
        "seconds",
        "stages",
    }
    assert keys <= first.keys()
    assert (first["images"], len(first["rejected"])) == (33, 5)
    assert {"image", "reason"} <= first["rejected"][0].keys()
    assert first["computed"] == first["embeddings"] == first["blobs"]
    assert featstore_json(*arguments)["computed"] == 0
    assert featstore_json(*arguments, "--repeats", 1)["computed"] > 0


def test_fit_reports_what_is_fixed(work, featstore_json, tmp_path):
    result = featstore_json("fit", work / "s.store", "--model", tmp_path / "m.model", "--preset", "m4", "--folds", 2)
    assert {"model", "classes", "folds", "oof_macro_f1", "oof_accuracy", "seconds"} <= result.keys()
    assert len(result["folds"]) == 2
    assert {"fold", "val_macro_f1", "val_accuracy", "temperatures", "weights"} <= result["folds"][0].keys()
    assert len(result["classes"]) == 4


def test_predictions_have_a_row_for_every_image_in_the_order_of_the_input(work, small_data, featstore, tmp_path):
    out, submission = tmp_path / "p.csv", tmp_path / "sub.csv"
    result = featstore("predict", work / "m.model", work / "s.store", "--out", out, "--submission", submission)
    assert result.exit_code == 0, result.output
    table = rows(out)
    assert [row["sample_index"] for row in table] == [f"img_{number:04d}.png" for number in range(8)]
    model = library.load_model(work / "m.model")
    assert list(table[0]) == ["sample_index", "label", "confidence", *(f"prob_{c}" for c in model.classes_), "note"]
    for row in table:
        probabilities = {name: float(row[f"prob_{name}"]) for name in model.classes_}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(probabilities, key=probabilities.get)
        assert float(row["confidence"]) == pytest.approx(max(probabilities.values()))
    assert rows(submission) == [{"sample_index": row["sample_index"], "label": row["label"]} for row in table]


def test_an_image_without_a_blob_gets_the_class_prior_and_a_note(work, small_data, featstore, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    (data / "test_data" / "img_0003.png").write_bytes(b"")
    shutil.copytree(work / "s.store", tmp_path / "s.store")
    encoder = ["--encoder", "stain-texture", "--repeats", 1]
    assert featstore("extract", data, "--store", tmp_path / "s.store", *encoder).exit_code == 0
    out = tmp_path / "p.csv"
    assert featstore("predict", work / "m.model", tmp_path / "s.store", "--out", out).exit_code == 0
    row = rows(out)[3]
    assert "class prior" in row["note"]
    assert "unreadable" in row["note"]
    prior = library.load_model(work / "m.model").class_prior_
    assert [float(row[name]) for name in row if name.startswith("prob_")] == pytest.approx(list(prior), abs=1e-6)
    assert len(rows(out)) == 8


@pytest.mark.parametrize(("split", "count"), [("train", 30), ("all", 38)])
def test_other_splits(work, featstore_json, tmp_path, split, count):
    result = featstore_json(
        "predict", work / "m.model", work / "s.store", "--out", tmp_path / "p.csv", "--split", split
    )
    assert result["images"] == count
    if split == "all":
        assert len({row["image"] for row in rows(tmp_path / "p.csv")}) == count


def test_store_info_log_and_label(work, featstore, featstore_json, tmp_path):
    info = featstore_json("store", "info", work / "s.store")
    keys = [
        "version",
        "fingerprint",
        "embeddings",
        "dim",
        "dtype",
        "images",
        "blobs",
        "repeats",
        "splits",
        "classes",
        "recipe",
    ]
    assert set(keys) <= info.keys()
    assert info["repeats"] == [0, 1]
    shutil.copytree(work / "s.store", tmp_path / "s.store")
    (tmp_path / "labels.csv").write_text("sample_index;label\r\nimg_0000.png;Luminal A\r\nimg_0001.png;Luminal A\r\n")
    labelled = featstore_json("store", "label", tmp_path / "labels.csv", tmp_path / "s.store")
    assert labelled["version"] == info["version"] + 1
    log = featstore_json("store", "log", tmp_path / "s.store")["versions"]
    assert [entry["operation"] for entry in log] == ["label", "extract"]
    assert featstore("store", "info", tmp_path / "s.store").exit_code == 0
    assert "extract" in featstore("store", "log", tmp_path / "s.store").stdout


def test_labels_from_elsewhere_and_groups(work, featstore, featstore_json, tmp_path):
    store = library.open_store(work / "s.store")
    lines = ["sample_index,label,patient"]
    for number, row in enumerate(store.usable("train").values()):
        lines.append(f"{row.sample_index},{'xy'[number % 2]},p{number // 3}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    common = ["fit", work / "s.store", "--model", tmp_path / "m.model", "--preset", "m4", "--folds", 2]
    result = featstore_json(*common, "--labels", tmp_path / "labels.csv", "--group", "patient")
    assert result["classes"] == ["x", "y"]
    wrong = featstore(*common, "--labels", tmp_path / "labels.csv", "--group", "slide")
    assert wrong.exit_code == 2
    assert "patient" in wrong.stderr


def test_a_class_smaller_than_the_folds_is_an_error_that_says_what_to_do(work, featstore, tmp_path):
    result = featstore("fit", work / "s.store", "--model", tmp_path / "m.model", "--folds", 10)
    assert result.exit_code == 1
    assert "--folds" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "m.model").exists()


def test_a_model_refuses_embeddings_of_another_recipe(work, small_data, featstore, tmp_path):
    other = ["extract", small_data, "--store", tmp_path / "o.store", "--encoder", "stain-texture", "--margin", 0.3]
    assert featstore(*other).exit_code == 0
    result = featstore("predict", work / "m.model", tmp_path / "o.store", "--out", tmp_path / "p.csv")
    assert result.exit_code == 1
    assert "recipe" in result.stderr
    assert not (tmp_path / "p.csv").exists()


def test_another_recipe_never_enters_a_store(work, small_data, featstore):
    result = featstore("extract", small_data, "--store", work / "s.store", "--encoder", "stain-texture", "--seed", 1)
    assert result.exit_code == 1
    assert "seed is 0, asked for 1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["extract", "nowhere"], 1, "nowhere"),
        (["fit", "nowhere.store"], 1, "featstore extract"),
        (["predict", "nowhere.model", "nowhere.store"], 1, "nowhere.model"),
        (["store", "info", "nowhere.store"], 1, "nowhere.store"),
        (["extract", "--fill", "red"], 2, "--fill"),
        (["extract", "--no-such-option"], 2, "no-such-option"),
        (["fit", "--preset", "m9"], 2, "m9"),
        (["fit", "--folds", "1"], 2, "folds"),
    ],
)
def test_wrong_use_and_missing_things(featstore, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    result = featstore(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_no_weights_and_no_way_to_get_them(small_data, featstore, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    result = featstore("extract", small_data, "--store", tmp_path / "s.store")
    assert result.exit_code == 1
    for word in ("--weights", "HF_HUB_OFFLINE", "--encoder stain-texture"):
        assert word in result.stderr
    assert not (tmp_path / "s.store").exists()


def test_an_unexpected_error_is_one_line_and_asks_for_nothing_impossible(featstore, monkeypatch, tmp_path):
    def explode(*_, **__):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("featstore.store.open_store", explode)
    result = featstore("store", "info", tmp_path)
    assert result.exit_code == 1
    assert "of all things" in result.stderr
    assert "FEATSTORE_DEBUG=1" in result.stderr
    assert "Traceback" not in result.stderr


def test_doctor(featstore, featstore_json):
    found = featstore_json("doctor")
    assert {"featstore", "python", "platform", "cores", "packages", "devices", "encoders"} <= found.keys()
    assert any(row["device"] == "cpu" for row in found["devices"])
    assert {"phikon-v2", "stain-texture"} <= {row["encoder"] for row in found["encoders"]}
    text = featstore("doctor").stdout
    assert "stain-texture" in text
    assert "phikon-v2" in text


def test_doctor_says_what_a_missing_package_is_for(featstore, monkeypatch):
    found = {"featstore": "1", "python": "3", "platform": "x", "cores": 2, "devices": [], "encoders": []}
    found["packages"] = {"numpy": "2.0", "transformers": None, "of-no-use": None}
    monkeypatch.setattr("featstore.encoders.examine", lambda: found)
    text = featstore("doctor").stdout
    assert "not installed (only for encoders from Hugging Face)" in text
    assert "of-no-use" not in text


def test_every_command_has_help_with_examples(featstore):
    for command in ("extract", "fit", "predict", "doctor"):
        result = featstore(command, "--help")
        assert result.exit_code == 0
        assert "Example" in result.stdout
    assert featstore("--version").stdout.startswith("featstore ")


def test_json_is_all_there_is_on_stdout(work, featstore, tmp_path):
    result = featstore("predict", work / "m.model", work / "s.store", "--out", tmp_path / "p.csv", "--json")
    assert json.loads(result.stdout)["out"] == str(tmp_path / "p.csv")


def test_a_plain_folder_says_what_it_needs(small_data, featstore, tmp_path):
    """Images without labels: repeats have nothing to augment, and there is nothing to fit."""
    common = ["--store", tmp_path / "s.store", "--encoder", "stain-texture", "--repeats", 1]
    extracted = featstore("extract", small_data / "test_data", *common)
    assert extracted.exit_code == 0
    assert "--test-repeats" in extracted.stderr
    fitted = featstore("fit", tmp_path / "s.store", "--model", tmp_path / "m.model")
    assert fitted.exit_code == 1
    assert "featstore store label" in fitted.stderr


def test_targets_that_cannot_be_written_are_refused_before_any_work(work, featstore, tmp_path):
    for target in (tmp_path / "nowhere" / "x.model", tmp_path):
        result = featstore("fit", work / "s.store", "--model", target)
        assert result.exit_code == 1
        assert str(target) in result.stderr
    twice = ["--out", tmp_path / "p.csv", "--submission", tmp_path / "p.csv"]
    assert featstore("predict", work / "m.model", work / "s.store", *twice).exit_code == 2
    over = featstore("predict", work / "m.model", work / "s.store", "--out", work / "m.model")
    assert over.exit_code == 2
    library.load_model(work / "m.model")


def test_a_test_label_file_does_not_pass_unnoticed(work, featstore, tmp_path):
    shutil.copytree(work / "s.store", tmp_path / "s.store")
    (tmp_path / "labels.csv").write_text("sample_index,label\nimg_0000.png,HER2(+)\n")
    result = featstore("store", "label", tmp_path / "labels.csv", tmp_path / "s.store")
    assert "1 name (img_0000.png) could mean a training or a test image" in result.stderr
    assert "writing train_data/img_0000.png settles it" in result.stderr


def test_labels_that_change_nothing_or_more_than_they_seem_to_are_told(work, featstore, featstore_json, tmp_path):
    shutil.copytree(work / "s.store", tmp_path / "s.store")
    rows = [
        *("train_data/img_0000.png,A", "train_data/img_0000.png,B"),
        *("train_data/img_0001.png,", "train_data/img_0002.png,Lumnal A"),
        *("test_data/img_0000.png,HER2(+)", "test_data/img_0001.png,HER2(+)"),
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["sample_index,label", *rows]))
    before = library.open_store(tmp_path / "s.store").images
    shutil.copytree(tmp_path / "s.store", tmp_path / "json.store")
    result = featstore("store", "label", tmp_path / "labels.csv", tmp_path / "s.store")
    after = library.open_store(tmp_path / "s.store").images
    for name in ("train_data/img_0000.png", "train_data/img_0001.png"):
        assert after[name].label == before[name].label != ""
    assert "more than one label: train_data/img_0000.png; the labels that they have stay" in result.stderr
    assert "1 image of" in result.stderr
    assert "without a label: the labels that they have stay" in result.stderr
    assert "had the label 'Lumnal A' before" in result.stderr
    assert "2 images went from test to train: they got their first label (give a split column" in result.stdout
    said = featstore_json("store", "label", tmp_path / "labels.csv", tmp_path / "json.store")
    assert said["moved"] == ["test_data/img_0000.png", "test_data/img_0001.png"]
    assert (said["new_classes"], said["unlabelled"]) == (["Lumnal A"], 1)


def test_one_class_is_told_in_plain_words(work, featstore, tmp_path):
    name = next(iter(library.open_store(work / "s.store").usable("train")))
    (tmp_path / "labels.csv").write_text(f"sample_index,label\n{name},dense\n")
    result = featstore("fit", work / "s.store", "--model", tmp_path / "m.model", "--labels", tmp_path / "labels.csv")
    assert result.exit_code == 1
    assert "one class, 'dense', in 1 label;" in result.stderr


def test_how_to_complete_repeats_names_the_store(work, featstore, tmp_path):
    store = library.open_store(work / "s.store")
    shutil.copytree(work / "s.store", tmp_path / "s.store")
    name, row = next(iter(store.usable("train").items()))
    with library.create_store(tmp_path / "s.store", store.recipe, store.dim) as writer:
        writer.add(name, [0], [2], store.embeddings(images=[name], blobs=[0], repeats=[0]), label=row.label)
    fit = ["fit", tmp_path / "s.store", "--model", tmp_path / "m.model", "--preset", "m4", "--folds", 2]
    advice = f"featstore extract DATA --store {tmp_path / 's.store'} --repeats "
    assert f"{advice}2" in featstore(*fit).stderr
    assert f"{advice}7" in featstore(*fit, "--repeats", 7).stderr
