"""``featstore reproduce``: five rows by runs, kept as they come, and what stops it."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from typer.testing import CliRunner

from featstore.cnn import choose_images, comparison, presets
from featstore.cnn.protocol import Protocol, weight_digests
from featstore.cnn.published import SYSTEMS
from featstore.dataset import find_dataset
from featstore.errors import DataError
from featstore.report import check_reproduction, read_reproduction
from featstore.store import open_store
from featstore_cli import reproduce
from featstore_cli.app import app


@pytest.fixture
def small(monkeypatch):
    """Let the presets be quick: a network of timm's that is made for tests, two epochs."""
    bare = presets.ImageClassifier

    def quick(name, **settings):
        settings |= {"image_size": 32, "max_epochs": 2, "batch_size": 8}
        return bare("test_efficientnet.r160_in1k", **settings)

    monkeypatch.setattr(presets, "ImageClassifier", quick)


@pytest.fixture(scope="module")
def data(painted, tmp_path_factory):
    """The painted images, with labels of two of the three test images."""
    root = tmp_path_factory.mktemp("reproduce") / "data"
    shutil.copytree(painted, root)
    (root.parent / "test_labels.csv").write_text("sample_index,label\nimg_0000.png,A\nimg_0002.png,A\n")
    return root


def run(*arguments):
    return CliRunner().invoke(app, ["reproduce", *map(str, arguments)])


QUICK = ("--quick", "--device", "cpu", "--folds", "2", "--inner-folds", "3", "--jobs", "1")


def test_five_rows_and_the_repeats(data, tmp_path, small):
    out = tmp_path / "out"
    labels = data.parent / "test_labels.csv"
    result = run(data, *QUICK, "--out", out, "--test-labels", labels, "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert [row["system"] for row in content["systems"]] == ["m1", "m2", "m3", "m4", "m5"]
    assert [row["repeats"] for row in content["repeats"]] == [0, 1, 3, 4]
    assert content["from_scratch"] is True
    assert content["images"] == 21
    for row in [*content["systems"], *content["repeats"]]:
        assert 0 <= row["macro_f1"]["ci_low"] <= row["macro_f1"]["mean"] <= row["macro_f1"]["ci_high"] <= 1
        assert 0 <= row["val_macro_f1"] <= 1
        assert row["test_images"] == 2
        assert 0 <= row["test_macro_f1"] <= 1
    assert content["systems"][4]["published"]["test_macro_f1"] == 0.4221
    assert content["repeats"][3]["macro_f1"] == content["systems"][4]["macro_f1"]
    with (out / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["system"] for row in rows] == ["m1", "m2", "m3", "m4", "m5"]
    assert float(rows[0]["macro_f1_mean"]) == content["systems"][0]["macro_f1"]["mean"]
    assert json.loads((out / "reproduction.json").read_text()) == content
    check_reproduction(read_reproduction(out), open_store(content["store"]), out)
    assert not list((out / "checkpoints").iterdir())

    shutil.rmtree(out / "checkpoints")
    again = run(data, *QUICK, "--out", out, "--test-labels", labels)
    assert again.exit_code == 0
    assert "published (the authors, on the challenge)" in again.stdout
    assert "from scratch" in again.stdout
    kept = json.loads((out / "reproduction.json").read_text())
    assert kept["systems"] == content["systems"]  # seconds too: nothing was worked out again
    assert not (out / "checkpoints").exists()


def test_stopped_and_run_again(data, tmp_path, small, monkeypatch, deafened):
    out = tmp_path / "out"
    bare = comparison.Reproduction._heads

    def stop(self, system, repeats):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison.Reproduction, "_heads", stop)
    result = run(data, *QUICK, "--out", out)
    assert result.exit_code == 130
    assert f"Finished rows, and the last checkpoints, are in {out}" in result.stderr
    assert len(list((out / "rows").iterdir())) == 3
    monkeypatch.setattr(comparison.Reproduction, "_heads", bare)
    monkeypatch.setattr(comparison.Reproduction, "_network", stop)
    result = run(data, *QUICK, "--out", out)
    assert result.exit_code == 0, result.stderr
    content = json.loads((out / "reproduction.json").read_text())
    assert all(row["test_macro_f1"] is None for row in content["systems"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--network-weights", "timm"), 2, "--network-weights"),
        (("--test-labels", "nowhere.csv"), 1, "nowhere.csv"),
        (("--store", "x.store", "--encoder", "stain-texture"), 2, "--encoder"),
        (("--store", "nowhere.store"), 1, "nowhere.store"),
        (("--folds", "12"), 1, "expected at least 12"),
    ],
)
def test_one_message_for_what_can_not_be(data, tmp_path, small, arguments, code, said):
    result = run(data, *QUICK, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_store_of_other_data(data, tmp_path, small, painted):
    store = tmp_path / "s.store"
    extracted = CliRunner().invoke(
        app, ["extract", str(data), "--store", str(store), "--encoder", "stain-texture", "--repeats", "4"]
    )
    assert extracted.exit_code == 0
    fewer = tmp_path / "fewer"
    shutil.copytree(painted, fewer)
    (fewer / "train_data" / "img_0000.png").unlink()
    result = run(fewer, *QUICK, "--out", tmp_path / "other", "--store", store)
    assert result.exit_code == 1
    assert "1 images of" in result.stderr
    assert "train_data/img_0000.png" in result.stderr


def test_without_quick_weights_are_needed(data, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    how = ("--device", "cpu", "--out", tmp_path / "out", "--encoder", "stain-texture")
    result = run(data, *how)
    assert result.exit_code == 1
    assert "timm/inception_v3.tv_in1k" in result.stderr
    assert "--from-scratch" in result.stderr
    result = run(data, *how, "--network-weights", tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path / 'm1'} is no folder" in result.stderr


@pytest.fixture(scope="module")
def extracted(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "s.store"
    how = ("--encoder", "stain-texture", "--repeats", "1", "--store", str(path))
    assert CliRunner().invoke(app, ["extract", str(data), *how]).exit_code == 0
    return path


def reproduction(data, store, folder, labels=None, **protocol):
    dataset = find_dataset(data)
    settings = Protocol(repeats=(0, 1), networks={"from_scratch": True}, **protocol)
    unusable = choose_images(dataset).unusable
    return comparison.Reproduction(
        open_store(store), dataset.records, unusable, settings, weight_digests(settings), folder, labels or {}
    )


def test_a_row_is_of_what_it_was_made_of(data, extracted, tmp_path, small):
    key = reproduction(data, extracted, tmp_path)._key
    same = reproduction(data, extracted, tmp_path / "elsewhere", n_jobs=2)._key
    assert same("m1", 1) == key("m1", 1)
    assert same("m5", 1) == key("m5", 1)
    assert len({key(system, 1) for system in SYSTEMS} | {key("m5", 0)}) == 6
    for other in (
        reproduction(data, extracted, tmp_path, seed=1),
        reproduction(data, extracted, tmp_path, outer_folds=4),
        reproduction(data, extracted, tmp_path, {"test_data/img_0000.png": "A"}),
    ):
        assert other._key("m1", 1) != key("m1", 1)
        assert other._key("m5", 1) != key("m5", 1)
    inner = reproduction(data, extracted, tmp_path, inner_folds=3)._key
    assert inner("m1", 1) == key("m1", 1)
    assert inner("m5", 1) != key("m5", 1)


def test_images_that_changed_since_extraction_are_refused(data, extracted, tmp_path, small):
    changed = tmp_path / "data"
    shutil.copytree(data, changed)
    shutil.copy(changed / "train_data" / "mask_0003.png", changed / "train_data" / "mask_0002.png")
    with pytest.raises(DataError, match=r"1 images or their masks changed .*img_0002\.png"):
        reproduction(changed, extracted, tmp_path)


def test_all_systems_have_the_same_outer_folds(data, extracted, tmp_path, small, monkeypatch):
    seen = []

    def look(candidates, **how):
        (candidate,) = candidates
        seen.append((how, candidate.y.tolist(), candidate.groups.tolist()))
        names = candidate.X.images.tolist() if hasattr(candidate.X, "images") else [r.image for r in candidate.X]
        assert names == sorted(names)
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "cross_validate_nested", look)
    work = reproduction(data, extracted, tmp_path, inner_folds=3)
    for system in SYSTEMS:
        with pytest.raises(KeyboardInterrupt):
            work._row(system, 1)
    assert len(seen) == 5
    assert all(each == seen[0] for each in seen)


def test_test_labels_in_another_spelling(data, tmp_path, extracted, capsys):
    labels = tmp_path / "labels.csv"
    labels.write_text("sample_index,label\nimg_0000.png,a\nimg_0002.png, B \nimg_9999.png,A\n")
    found = reproduce._test_labels(labels, find_dataset(data), open_store(extracted))
    assert found == {"test_data/img_0000.png": "A", "test_data/img_0002.png": "B"}
    assert "img_9999.png" in capsys.readouterr().err
    labels.write_text("sample_index,label\nimg_0000.png,Z\n")
    assert set(reproduce._test_labels(labels, find_dataset(data), open_store(extracted)).values()) == {"Z"}
    assert "no training image" in capsys.readouterr().err
