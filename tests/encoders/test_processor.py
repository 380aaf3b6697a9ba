"""The numbers read from a processor's file, and the resize that is our own."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pytest

from featstore.encoders.processor import IMAGENET_MEAN, IMAGENET_STD, Resize, read_processor, read_side
from featstore.errors import DataError, EncoderError


@pytest.fixture
def read(tmp_path):
    def from_content(content, image_size=None, name="preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps(content))
        return read_processor(tmp_path, image_size)

    return from_content


@pytest.mark.parametrize(
    ("size", "side"),
    [(224, 224), ([96, 96], 96), ({"height": 98, "width": 98}, 98), ({"shortest_edge": 518}, 518)],
)
def test_every_way_to_write_a_size(size, side):
    assert read_side(size, "here") == side


@pytest.mark.parametrize("size", [None, 0, -1, True, 1.5, "224", [224], [224, 192], {"longest_edge": 9}, 10**6])
def test_what_is_no_square_is_refused(size):
    with pytest.raises(EncoderError, match="square"):
        read_side(size, "here")


def test_the_crop_size_wins_over_the_size_and_the_size_over_the_configuration(read):
    content = {"size": {"shortest_edge": 256}, "crop_size": 224}
    assert read(content, 518).size_px == 224
    assert read(content | {"do_center_crop": False}, 518).size_px == 256
    assert read({"image_mean": [0.5, 0.5, 0.5]}, 518).size_px == 518


def test_imagenet_where_the_file_says_nothing(read):
    found = read({"size": 64})
    assert (found.mean, found.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_a_rescale_factor_of_its_own_is_folded_in(read):
    pixels = np.arange(256)
    found = read({"size": 64, "rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]})
    expected = pixels / 127.5 - 1
    np.testing.assert_allclose((pixels / 255 - found.mean[0]) / found.std[0], expected, atol=1e-12)


def test_steps_that_are_switched_off(read):
    plain = read({"size": 64, "do_normalize": False})
    assert (plain.mean, plain.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    raw = read({"size": 64, "do_rescale": False, "do_normalize": False})
    assert raw.std == pytest.approx((1 / 255,) * 3)


def test_the_newer_file_is_read_too(read):
    found = read({"image_processor": {"size": 64, "image_mean": [0.1, 0.2, 0.3]}}, name="processor_config.json")
    assert found.mean == (0.1, 0.2, 0.3)


def test_no_file(tmp_path):
    assert read_processor(tmp_path, 224) is None


@pytest.mark.parametrize(
    "content",
    [
        {"image_mean": [0.5]},
        {"image_std": [1, 1, 0]},
        {"image_mean": ["a", "b", "c"]},
        {"rescale_factor": 0},
        {"rescale_factor": "x"},
        {"image_std": None},
        {"rescale_offset": True},
    ],
)
def test_numbers_that_make_no_sense_are_refused(read, content):
    with pytest.raises(EncoderError, match="expected"):
        read({"size": 64} | content)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\x00"])
def test_a_file_that_is_no_json_object(tmp_path, text):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(EncoderError, match="JSON object"):
        read_processor(tmp_path, 224)


def test_resize_leaves_the_right_size_alone(random_crop):
    crop = random_crop(64)
    assert Resize(64)(crop) is crop


@pytest.mark.parametrize(("side", "method"), [(150, cv2.INTER_AREA), (20, cv2.INTER_CUBIC)])
def test_resize_averages_when_shrinking(random_crop, side, method):
    crop = random_crop(side)
    np.testing.assert_array_equal(Resize(64)(crop), cv2.resize(crop, (64, 64), interpolation=method))


def test_resize_can_go_to_a_worker(random_crop):
    crop = random_crop(50)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = pool.submit(Resize(32), crop).result()
    np.testing.assert_array_equal(there, Resize(32)(crop))


@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_only_rgb_of_8_bits(crop):
    with pytest.raises(DataError, match="uint8"):
        Resize(32)(crop)
