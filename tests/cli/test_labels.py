"""``--labels``: messages name the CSV, and labels that are not used don't pass unnoticed."""

from __future__ import annotations

import pytest

from featstore.store import create_store, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "x.store"
    with create_store(path, {"a": 1}, 3) as writer:
        for number in range(12):
            row = [[number % 2, number, 1]]
            writer.add(f"train/{number:02d}.png", [0], [0], row, label="ab"[number % 2])
        writer.add("test/t.png", [0], [0], [[0, 0, 1]], split="test")
        writer.register("train/bad.png", reason="unreadable", note="it is empty")
        writer.register("train/bare.png")
    return path


@pytest.fixture
def fit(store, featstore, tmp_path):
    def fit(*lines):
        (tmp_path / "l.csv").write_text("\n".join(["sample_index,label", *lines]))
        quick = ("--preset", "m4", "--folds", 2, "--jobs", 1, "--model", tmp_path / "m.model")
        result = featstore("fit", store, *quick, "--labels", tmp_path / "l.csv")
        return result.exit_code, result.stderr

    return fit


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["train/00.png,", "train/01.png,"], "l.csv has no label for any training image of"),
        (["test/t.png,a"], "l.csv has no label for any training image of"),
        (["train/00.png,a", "train/01.png,a"], "l.csv: one class, 'a', in 2 labels"),
    ],
)
def test_too_few_classes_are_blamed_on_the_csv_that_was_given(fit, store, lines, found):
    code, told = fit(*lines)
    assert code == 1
    error = told.splitlines()[-1]
    assert found in error
    assert "l.csv (columns sample_index,label)" in error
    assert "--labels" not in error
    assert not error.startswith(f"Error: {store}")


def test_labels_that_are_not_used_are_counted_with_the_reason(fit):
    used = [f"train/{number:02d}.png,{'xy'[number // 2 % 2]}" for number in range(12)]
    code, told = fit(*used, "test/t.png,x", "train/bad.png,x", "train/bare.png,y")
    assert code == 0
    reasons = "1 of images in the test split, 1 of images that are left out, 1 of images without embeddings"
    assert f"l.csv not used: {reasons}\n" in told
    assert told.startswith("Warning: 3 labels of ")
    assert fit(*used, "train/bad.png,") == (0, "")


def test_a_folder_of_labels_is_blamed_itself(store, featstore, tmp_path):
    for command in (("fit", store, "--model", tmp_path / "m.model"), ("evaluate", store, "--out", tmp_path / "e.csv")):
        result = featstore(*command, "--labels", tmp_path)
        assert result.exit_code == 2
        told = " ".join(result.stderr.replace("│", " ").split())
        assert "'--labels'" in told
        assert "directory" in told
    assert len(open_store(store).images) == 15
