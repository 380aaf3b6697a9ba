"""``featstore explain`` as users type it."""

from __future__ import annotations

import shutil
from pathlib import Path

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
        (["--weights", "nowhere"], 1, "stain-texture has no weights"),
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


def test_a_file_of_somebody_else_s_is_not_drawn_over(
    arguments, small_data, featstore, featstore_json, tmp_path
) -> None:
    """A training image of the same name, say; a picture that was drawn before is."""
    mine = tmp_path / "out" / "img_0000.png"
    mine.parent.mkdir()
    shutil.copy(small_data / "train_data" / "img_0000.png", mine)
    before = mine.read_bytes()
    result = featstore(*arguments("img_0000.png"))
    assert result.exit_code == 2
    assert "no picture of featstore's" in " ".join(result.stderr.split())
    assert mine.read_bytes() == before
    mine.unlink()
    for _ in range(2):
        featstore_json(*arguments("img_0000.png"))


@pytest.fixture(scope="module")
def phikon(small_data, tiny_dinov2, featstore_json, tmp_path_factory) -> Path:
    """A store of a vision transformer whose weights are in a folder, and a model on it."""
    folder = tmp_path_factory.mktemp("phikon")
    how = ("--weights", tiny_dinov2, "--device", "cpu", "--precision", "float32")
    featstore_json("extract", small_data, "--store", folder / "p.store", *how)
    featstore_json("fit", folder / "p.store", "--model", folder / "p.model", "--folds", 2)
    return folder


@pytest.mark.parametrize(
    ("view", "methods"),
    [
        ([], ["Grad-CAM at the tokens", "attention rollout"]),
        (["--view", "grad-cam"], ["Grad-CAM at the tokens"]),
        (["--view", "rollout"], ["attention rollout"]),
    ],
)
def test_heatmaps_of_a_transformer(phikon, small_data, tiny_dinov2, featstore_json, tmp_path, view, methods) -> None:
    image = small_data / "test_data" / "img_0001.png"
    how = ("--store", phikon / "p.store", "--weights", tiny_dinov2, "--device", "cpu", "--out", tmp_path / "out")
    told = featstore_json("explain", phikon / "p.model", image, *how, *view)
    systems = told["images"][0]["systems"]
    assert [system["method"] for system in systems] == methods
    height, width = cv2.imread(str(image)).shape[:2]
    for system in systems:
        if system["maximum"] is None:
            assert any("the map is empty" in text for text in system["notes"])
        else:
            assert 0 <= system["maximum"]["x"] < width
            assert 0 <= system["maximum"]["y"] < height


def test_models_of_two_stores_side_by_side(phikon, work, small_data, tiny_dinov2, featstore_json, tmp_path) -> None:
    image = small_data / "test_data" / "img_0001.png"
    other = ("--compare", phikon / "p.model", "--compare-store", phikon / "p.store", "--compare-weights", tiny_dinov2)
    where = ("--store", work / "s.store", "--device", "cpu", "--out", tmp_path / "out")
    told = featstore_json("explain", work / "m.model", image, *where, *other)
    ours, theirs = told["images"][0]["systems"]
    assert (ours["system"], ours["method"]) == ("m", "")
    assert (theirs["system"], theirs["method"]) == ("p", "Grad-CAM at the tokens")


def test_weights_of_a_folder_have_to_be_named_again(phikon, small_data, featstore, tmp_path) -> None:
    image = small_data / "test_data" / "img_0001.png"
    how = ("--store", phikon / "p.store", "--device", "cpu", "--out", tmp_path / "out")
    result = featstore("explain", phikon / "p.model", image, *how)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "made with weights of phikon-v2 from a folder" in said
    assert "Name that folder with --weights" in said
