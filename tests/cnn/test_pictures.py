"""Framing: what the network sees of an image, and what is known of its content."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.cnn.pictures import frame, load_pictures, read_picture, record_of
from featstore.dataset import find_dataset
from featstore.errors import DataError, ImageError


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 320))
def test_a_framed_image_fills_the_square_in_one_direction_and_lies_in_its_middle(height, width, side):
    found = frame(height, width, side)
    assert 0 <= found.left < found.right <= side
    assert 0 <= found.top < found.bottom <= side
    assert max(found.right - found.left, found.bottom - found.top) == side
    assert abs(found.left - (side - found.right)) <= 1
    assert abs(found.top - (side - found.bottom)) <= 1


@given(st.integers(100, 2000), st.integers(100, 2000))
def test_proportions_stay(height, width):
    found = frame(height, width, 299)
    shown = (found.right - found.left) / (found.bottom - found.top)
    assert shown == pytest.approx(width / height, rel=0.1)


def test_mask_and_image_move_together(tmp_path, records):
    image = np.full((40, 80, 3), 255, np.uint8)
    image[10:20, 30:60] = (160, 80, 160)
    mask = (image[..., 1] < 100).astype(np.uint8) * 255
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    record = replace(records[0], path=tmp_path / "image.png", mask_path=tmp_path / "mask.png")
    pixels = read_picture(record, 80).pixels
    assert pixels.shape == (80, 80, 4)
    assert np.array_equal(pixels[..., 3] > 127, pixels[..., 1] < 160)
    assert (pixels[:20] == (255, 255, 255, 0)).all()


def test_without_a_mask_tissue_is_found_on_the_image(tmp_path, records):
    image = np.full((64, 64, 3), 250, np.uint8)
    image[20:44, 20:44] = (190, 90, 160)
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])
    for given_mask in (None, tmp_path / "empty.png"):
        cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((64, 64), np.uint8))
        found = read_picture(replace(records[0], path=tmp_path / "image.png", mask_path=given_mask), 64)
        assert found.mask == ""
        assert (found.pixels[24:40, 24:40, 3] == 255).all()
        assert (found.pixels[:10, :10, 3] == 0).all()


def test_many_as_one(records):
    pictures = load_pictures(records, 32)
    assert pictures.pixels.shape == (30, 32, 32, 4)
    for place in (0, 7, 29):
        one = read_picture(records[place], 32)
        assert np.array_equal(pictures.pixels[place], one.pixels)
        assert pictures.digests[place] == one.digest
    assert len(set(pictures.digests)) == 30
    assert pictures.note == ""
    assert load_pictures(records, 64).note == "30 images smaller than 64 px, enlarged"


def test_the_mask_is_part_of_the_content(tmp_path, records):
    other = tmp_path / "mask.png"
    cv2.imwrite(str(other), np.full((48, 48), 255, np.uint8))
    changed = load_pictures([records[0], replace(records[0], mask_path=other)], 32)
    assert changed.digests[0] != changed.digests[1]
    assert changed.traits[0][0] == changed.traits[1][0]


def test_contaminated_tissue_is_told(data):
    (green,) = (record for record in find_dataset(data).records if record.image.endswith("train_data/img_0030.png"))
    assert "green" in load_pictures([green], 32).contaminated[0]


def test_a_damaged_image_is_named(data):
    with pytest.raises(ImageError) as caught:
        read_picture(replace(record_of(data / "train_data" / "img_0000.png"), mask_path=data / "none.png"), 32)
    assert caught.value.reason == "mask_unreadable"
    with pytest.raises(ImageError, match=r"img_0031\.png"):
        load_pictures([data / "train_data" / "img_0031.png"], 32)


@pytest.mark.parametrize(("images", "said"), [([], "no images"), ([3], "given as a int")])
def test_what_is_no_image(images, said):
    with pytest.raises(DataError, match=said):
        load_pictures(images, 32)
