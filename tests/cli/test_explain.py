"""``featstore explain`` as users type it."""

from __future__ import annotations

import shutil

import cv2
import pytest


@pytest.fixture
def arguments(work, small_data, tmp_path):
    """The model, and what every call of these tests says."""

    def make(*images, model="m.model", out="out"):
        options = ("--store", work / "s.store", "--out", tmp_path / out)
        return ("explain", work / model, *(small_data / "test_data" / image for image in images), *options)

    return make


def test_it_tells_the_numbers_and_draws(arguments, featstore_json, tmp_path, small_data) -> None:
    told = featstore_json(*arguments("img_0000.png"))
    (image,) = told["images"]
    assert told["failed"] == []
    assert image["picture"] == str(tmp_path / "out" / "img_0000.png")
    assert cv2.imread(image["picture"]) is not None
    (system,) = image["systems"]
    assert {"system", "label", "probability", "probabilities", "blobs", "method", "maximum", "notes"} <= system.keys()
    assert system["probability"] == max(system["probabilities"].values())
    assert {"blob", "area_px", "box", "contribution", "probability_without"} <= system["blobs"][0].keys()
    assert system["maximum"] is None
    assert any("stain-texture" in text and "no tokens" in text for text in system["notes"])


def test_for_people(arguments, featstore) -> None:
    result = featstore(*arguments("img_0000.png", "img_0001.png"))
    assert result.exit_code == 0, result.output
    for words in ("img_0001.png", "blob 0", "without it", "no tokens", "2 images explained"):
        assert words in result.stdout


def test_a_bad_image_costs_only_itself(arguments, featstore, small_data, tmp_path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    command = arguments("img_0000.png")
    result = featstore(*command[:2], bad, *command[2:])
    assert result.exit_code == 1
    assert str(bad) in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "out" / "img_0000.png").exists()
    assert not (tmp_path / "out" / "bad.png").exists()


def test_two_models_side_by_side_and_a_class_of_ones_own(arguments, work, featstore_json, tmp_path) -> None:
    shutil.copy(work / "m.model", tmp_path / "twin.model")
    compared = ("--compare", tmp_path / "twin.model", "--label", "HER2(+)")
    told = featstore_json(*arguments("img_0000.png"), *compared)
    ours, theirs = told["images"][0]["systems"]
    assert (ours["system"], theirs["system"]) == ("m", "twin")
    assert ours["label"] == theirs["label"] == "HER2(+)"
    assert ours["blobs"] == theirs["blobs"]


def test_images_of_one_name_get_pictures_of_two(arguments, small_data, featstore_json) -> None:
    command = arguments("img_0000.png")
    other = small_data / "train_data" / "img_0001.png"
    shutil.copy(other, small_data / "img_0000.png")
    try:
        told = featstore_json(*command[:3], small_data / "img_0000.png", *command[3:])
    finally:
        (small_data / "img_0000.png").unlink()
    names = [row["picture"].rpartition("/")[2] for row in told["images"]]
    assert names == ["test_data-img_0000.png", "data-img_0000.png"]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--mask", "m.png"], 2, "one mask for 2 images"),
        (["--label", "nothing of the kind"], 1, "knows no class"),
        (["--view", "x-ray"], 2, "x-ray"),
        (["--encoder", "phikon-v2", "--weights", "nowhere"], 1, "nowhere"),
        (["--compare", "nowhere.model"], 1, "nowhere.model"),
    ],
)
def test_wrong_use(arguments, featstore, more, code, words) -> None:
    result = featstore(*arguments("img_0000.png", "img_0001.png"), *more)
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_no_image_and_pictures_over_images(arguments, work, small_data, featstore) -> None:
    result = featstore("explain", work / "m.model")
    assert result.exit_code == 2
    assert "none follows" in result.stderr
    onto = featstore(*arguments("img_0000.png")[:-1], small_data / "test_data")
    assert onto.exit_code == 2
    assert "--out" in onto.stderr


def test_a_store_of_another_recipe_is_refused_before_the_encoder_is_loaded(
    arguments, small_data, featstore, tmp_path
) -> None:
    other = ["extract", small_data, "--store", tmp_path / "o.store", "--encoder", "stain-texture", "--margin", 0.3]
    assert featstore(*other).exit_code == 0
    result = featstore(*arguments("img_0000.png")[:3], "--store", tmp_path / "o.store", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "fingerprint" in result.stderr
    assert "--store" in result.stderr
    assert not (tmp_path / "out").exists()
