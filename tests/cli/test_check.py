"""``featstore check`` and ``featstore preview`` as users type them."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

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
    words = ("27 images", "left out by an extraction: unreadable 2", "suspect: ", "twins: ", "A: 12 train")
    files = ("modes: 25 RGB of 8 bits", "resolution: not known", "sizes: 48 px wide, 40 px high")
    for said in (*words, *files, "blobs found on: mask "):
        assert said in result.stdout


def test_check_strictly(painted, featstore, tmp_path) -> None:
    """As in an extraction what is contaminated is left out on purpose, and all else that is left out is an error."""
    result = featstore("check", painted, "--jobs", 1, "--strict")
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: 3 images (no_label, unreadable) can't be used (--strict).\n")
    listed = tmp_path / "all.csv"
    rows = [f"{painted}/train_data/img_{number:04d}.png,A" for number in (4, 5, 6)]
    listed.write_text("\n".join(["image,label", *rows]) + "\n")
    result = featstore("check", listed, "--jobs", 1, "--strict")
    assert result.exit_code == 0
    assert "contaminated_green 1" in result.stdout


def test_check_tells_a_few_of_many_twins_and_patients_in_both_splits(painted, featstore, tmp_path) -> None:
    listed = tmp_path / "all.csv"
    for number in range(7):
        shutil.copy(painted / "train_data" / "img_0001.png", tmp_path / f"{number}.png")
    rows = [
        f"{number}.png,{'AB'[number % 2]},{'test' if number > 5 else 'train'},P1,0.{number + 1}" for number in range(7)
    ]
    listed.write_text("\n".join(["image,label,split,group,mpp", *rows]) + "\n")
    told = featstore("check", listed, "--jobs", 1).stdout
    names = "0.png, 1.png, 2.png, 3.png and 3 more"
    assert f"    {names}: the same file, labelled A and B, both trained on and tested\n" in told
    assert f"groups both trained on and tested: 1\n    P1: {names}\n" in told
    assert "twins: 1 group by file\n" in told
    assert "resolution: 0.1 to 0.7 µm a pixel\n" in told


@pytest.mark.parametrize("command", ["check", "preview"])
def test_nothing_is_drawn_into_the_data(command: str, painted, featstore, tmp_path, monkeypatch) -> None:
    """Nor into a new folder in it, which would be taken for data, nor into that of masks that a CSV names."""
    data = tmp_path / "data"
    shutil.copytree(painted, data)
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "all.csv").write_text("image,mask\n../data/train_data/img_0000.png,../masks/m.png\n")
    (tmp_path / "masks").mkdir()
    shutil.copy(data / "train_data" / "mask_0000.png", tmp_path / "masks" / "m.png")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(data)
    given = {".": ["x", "train_data/x", "../data"], "train_data": ["train_data/x"]}
    given |= {"../csv/all.csv": ["../masks", "train_data"]}
    for what, folders in given.items():
        for out in folders:
            result = featstore(command, what, "--out", out)
            assert result.exit_code == 2
            assert "name a folder elsewhere" in " ".join(result.stderr.replace("│", " ").split())
    if command == "preview":
        assert featstore(command, ".").exit_code == 2  # its default is a folder here
    assert sorted(tmp_path.rglob("*")) == before
    here = ["--jobs", 1] if command == "check" else []
    result = featstore(command, "../csv/all.csv", "--out", "../csv/x", *here)
    assert result.exit_code == 0, result.output


def test_check_draws_over_no_other_files(painted, featstore, tmp_path) -> None:
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


def test_previews_of_images_that_are_called_alike(small_data, featstore_json, tmp_path) -> None:
    data, image = tmp_path / "data", small_data / "train_data" / "img_0004.png"
    (data / "a").mkdir(parents=True)
    for name in ("a/b.png", "a-b.png", "overview.png", "line\nend.png"):
        shutil.copy(image, data / name)
    told = featstore_json("preview", data, "--out", tmp_path / "p", "--repeats", 0)
    assert told["failed"] == []
    pictures = [row["picture"] for row in told["images"]] + [told["overview"]]
    assert len(set(pictures)) == 5
    assert all(cv2.imread(picture) is not None for picture in pictures)
    (only,) = featstore_json("preview", data, "--only", "a/b", "--out", tmp_path / "p", "--repeats", 0)["images"]
    assert only in told["images"]


def test_preview_names_the_images_whose_resolution_is_not_known(small_data, featstore, tmp_path) -> None:
    (tmp_path / "images").mkdir()
    for number in (3, 4):
        shutil.copy(small_data / "train_data" / f"img_{number:04d}.png", tmp_path / "images" / f"{number}.png")
    listed = tmp_path / "all.csv"
    listed.write_text("image,mpp\nimages/3.png,0.5\nimages/4.png,\n")
    out = ["--tiles", 64, "--mpp", 1, "--repeats", 0, "--out", tmp_path / "p"]
    result = featstore("preview", listed, *out)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: images/4.png: an image whose resolution is not known")
    assert "1 image drawn" in result.stdout


@pytest.mark.parametrize("scales", ["2", "1,1", "1,99", "1,b"])
def test_wrong_scales_are_told_by_their_option(scales: str, small_data, featstore) -> None:
    result = featstore("preview", small_data, "--scales", scales)
    assert result.exit_code == 2
    assert "--scales" in result.stderr
    assert f"'{scales}'" in result.stderr
    assert "(1," not in result.stderr


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
