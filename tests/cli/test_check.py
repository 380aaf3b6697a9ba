"""``featstore check`` and ``featstore preview`` as users type them."""

from __future__ import annotations

import shutil

import cv2
import numpy as np

from featstore.store import open_store


def test_check_tells_and_draws(painted, featstore_json, tmp_path) -> None:
    told = featstore_json("check", painted, "--out", tmp_path / "sheets", "--jobs", 1)
    assert {"images", "rejected", "suspects", "twins", "labels"} <= told.keys()
    assert len(told["images"]) == 27
    reasons = {row["image"]: row["reason"] for row in told["rejected"]}
    assert reasons["train_data/img_0009.png"] == reasons["test_data/img_0001.png"] == "unreadable"
    assert reasons["train_data/img_0005.png"] == "contaminated_green"
    assert reasons["train_data/img_0007.png"] == "no_label"
    assert told["labels"]["A"]["train"] == 12
    assert told["sheets"]
    for path in told["sheets"]:
        assert cv2.imread(path) is not None
    again = featstore_json("check", painted, "--out", tmp_path / "sheets", "--jobs", 1)
    assert again["sheets"] == told["sheets"]


def test_check_for_people(painted, featstore) -> None:
    result = featstore("check", painted, "--jobs", 1)
    assert result.exit_code == 0, result.output
    for words in ("27 images", "left out by an extraction: unreadable 2", "suspect: ", "twins: ", "A: 12 train"):
        assert words in result.stdout
    assert featstore("check", painted, "--jobs", 1, "--strict").exit_code == 1


def test_check_never_draws_into_the_data_or_over_other_files(painted, featstore, tmp_path) -> None:
    assert featstore("check", painted, "--out", painted / "train_data").exit_code == 2
    (tmp_path / "green.png").write_bytes(b"mine")
    result = featstore("check", painted, "--jobs", 1, "--out", tmp_path)
    assert result.exit_code == 2
    assert (tmp_path / "green.png").read_bytes() == b"mine"


def test_check_of_nothing(featstore, tmp_path) -> None:
    result = featstore("check", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr


def test_preview_shows_what_an_extraction_makes(small_data, featstore_json, tmp_path) -> None:
    told = featstore_json("preview", small_data, "--out", tmp_path / "p", "--images", 4, "--repeats", 2)
    assert len(told["images"]) == 4
    assert cv2.imread(told["overview"]) is not None
    assert told["failed"] == []
    pictures = [cv2.imread(row["picture"]) for row in told["images"]]
    assert all(picture is not None for picture in pictures)
    fill = (np.abs(pictures[0].astype(int) - 128).max(axis=2) <= 1).mean()
    assert fill > 0.01  # crops are there: nothing else is of the fill's colour


def test_preview_of_named_images_and_of_bad_ones(small_data, featstore, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    (data / "test_data" / "img_0003.png").write_bytes(b"no image")
    result = featstore("preview", data, "--only", "test_data/img_0003", "--only", "img_0004", "--out", tmp_path / "p")
    assert result.exit_code == 1
    assert "img_0003" in result.stderr
    assert "2 images drawn" in result.stdout
    assert "Traceback" not in result.stderr
    refused = featstore("preview", data, "--only", "nothing of the kind", "--out", tmp_path / "p")
    assert refused.exit_code == 2


def test_preview_replaces_no_file_of_somebody_else_s(small_data, featstore, tmp_path) -> None:
    (tmp_path / "overview.png").write_bytes(b"mine")
    result = featstore("preview", small_data, "--out", tmp_path)
    assert result.exit_code == 2
    assert (tmp_path / "overview.png").read_bytes() == b"mine"


def test_thresholds_of_one_file_hold_for_check_and_extraction(painted, featstore, featstore_json, tmp_path) -> None:
    shown = featstore("check", "--show-limits").stdout
    assert "\ngreen = 0.03\n" in shown
    file, store = tmp_path / "limits.toml", tmp_path / "s.store"
    file.write_text(shown.replace("\ngreen = 0.03\n", "\ngreen = 1.0\n"))
    green = ("train_data/img_0005.png", "contaminated_green")
    for limits, left_out in ([], True), (["--limits", file], False):
        told = featstore_json("check", painted, "--jobs", 1, *limits)
        assert (green in {(row["image"], row["reason"]) for row in told["rejected"]}) == left_out
    featstore_json("extract", painted, "--encoder", "stain-texture", "--store", store, "--limits", file)
    assert open_store(store).images[green[0]].reason == ""
    again = featstore("extract", painted, "--encoder", "stain-texture", "--store", store)
    assert again.exit_code == 1
    assert "limits" in again.stderr
