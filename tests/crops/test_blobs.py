from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from featstore.crops import Blobs, cut_place, find_blobs, find_places
from featstore.crops.blobs import threshold_mask
from featstore.errors import DataError, ImageError
from featstore.recipe import CropSettings

ANY_SIZE = CropSettings(min_area_px=1, max_blobs=1000, masks="given")
small_masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)).filter(np.any)


def on_mask(mask: np.ndarray, crops: CropSettings = ANY_SIZE) -> Blobs:
    return find_blobs(np.full((*mask.shape, 3), 200, np.uint8), mask.astype(np.uint8), crops)


@given(small_masks, st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_two_valued_mask_keeps_exactly_its_foreground(foreground: np.ndarray, value: int) -> None:
    found = on_mask(foreground * np.uint8(value))
    np.testing.assert_array_equal(found.tissue, foreground)
    assert found.source == "mask"


@given(small_masks)
@settings(max_examples=100, deadline=None)
def test_blobs_are_the_8_connected_components(foreground: np.ndarray) -> None:
    labels, count = ndimage.label(foreground, structure=np.ones((3, 3)))
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    areas = [int((labels == label).sum()) for label in range(1, count + 1)]
    found = on_mask(foreground).blobs
    assert sorted((blob.area_px, blob.box) for blob in found) == sorted(zip(areas, boxes, strict=True))


@given(small_masks, st.integers(1, 6), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_largest_first_up_to_the_most_and_from_the_least_area(mask: np.ndarray, most: int, least: int) -> None:
    everything = on_mask(mask).blobs
    found = on_mask(mask, CropSettings(min_area_px=least, max_blobs=most, masks="given"))
    if found.source == "whole_mask":
        assert all(blob.area_px < least for blob in everything)
        return
    keys = [(-blob.area_px, blob.box[1], blob.box[0]) for blob in found.blobs]
    assert keys == sorted(keys)
    assert [blob.index for blob in found.blobs] == list(range(len(found.blobs)))
    assert [blob.box for blob in found.blobs] == [b.box for b in everything if b.area_px >= least][:most]


def test_equal_areas_go_from_the_top_and_then_from_the_left() -> None:
    mask = np.zeros((40, 40), np.uint8)
    for x, y in ((30, 2), (20, 20), (2, 20), (10, 30)):
        mask[y : y + 4, x : x + 4] = 255
    assert [blob.box[:2] for blob in on_mask(mask).blobs] == [(30, 2), (2, 20), (20, 20), (10, 30)]


def test_threads_change_nothing() -> None:
    mask = (np.random.default_rng(0).random((700, 600)) < 0.35).astype(np.uint8)
    first = on_mask(mask).blobs
    cv2.setNumThreads(4)
    try:
        assert on_mask(mask).blobs == first
    finally:
        cv2.setNumThreads(1)


@pytest.mark.parametrize("value", [1, 7, 255])
def test_a_mask_without_background_is_tissue_throughout(value: int) -> None:
    found = on_mask(np.full((20, 30), value, np.uint8))
    assert found.tissue.all()
    assert [(blob.area_px, blob.box) for blob in found.blobs] == [(600, (0, 0, 30, 20))]


def test_positive_everywhere_is_tissue_even_if_grey() -> None:
    mask = np.random.default_rng(0).integers(1, 256, (20, 30)).astype(np.uint8)
    assert on_mask(mask).tissue.all()


def test_a_soft_mask_is_cut_between_its_two_heaps() -> None:
    disc = cv2.circle(np.zeros((80, 80), np.uint8), (40, 40), 25, 255, -1)
    soft = cv2.GaussianBlur(disc, (0, 0), 3)
    wrong = on_mask(soft).tissue != (disc > 0)
    assert wrong.sum() < 0.05 * (disc > 0).sum()


def test_specks_are_taken_as_one_blob() -> None:
    mask = np.zeros((50, 60), np.uint8)
    mask[5, 10] = mask[40:43, 50:52] = 255
    found = on_mask(mask, CropSettings(masks="given"))
    assert found.source == "whole_mask"
    assert [(blob.index, blob.area_px, blob.box) for blob in found.blobs] == [(0, 7, (10, 5, 52, 43))]
    assert found.tissue.sum() == 7


@pytest.mark.parametrize("mask", [None, np.zeros((64, 64), np.uint8)])
def test_without_a_usable_mask_tissue_is_found_on_the_image(mask: np.ndarray | None) -> None:
    image = np.full((64, 64, 3), 240, np.uint8)
    image[16:48, 20:40] = (180, 80, 150)
    found = find_blobs(image, mask, CropSettings())
    assert found.source == "tissue"
    assert np.abs(np.subtract(found.blobs[0].box, (20, 16, 40, 48))).max() <= 1


@pytest.mark.parametrize(("mask", "word"), [(None, "missing"), (np.zeros((64, 64), np.uint8), "empty")])
def test_nothing_to_crop_is_an_error_with_its_reason(mask: np.ndarray | None, word: str) -> None:
    with pytest.raises(ImageError, match=word) as caught:
        find_blobs(np.full((64, 64, 3), 255, np.uint8), mask, CropSettings())
    assert caught.value.reason == "no_blob"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (np.zeros((4, 4), np.uint8), None),
        (np.zeros((4, 4, 4), np.uint8), None),
        (np.zeros((0, 4, 3), np.uint8), None),
        (np.zeros((4, 4, 3), np.float32), None),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float64)),
    ],
)
def test_arrays_of_another_kind_are_refused(image: np.ndarray, mask: np.ndarray | None) -> None:
    with pytest.raises(DataError, match="expected"):
        find_blobs(image, mask, CropSettings())


def test_real_masks_give_blobs_within_their_image(read_pair, real) -> None:
    for name in ("he1024/img_0001.png", "he1024/img_0012.png", "dsb2018/train_data/img_0004.png"):
        image, mask = read_pair(name)
        found = find_blobs(image, mask, CropSettings())
        assert found.source == "mask"
        assert 1 <= len(found.blobs) <= 10
        np.testing.assert_array_equal(found.tissue, mask > 0)
        for blob in found.blobs:
            x0, y0, x1, y1 = blob.box
            assert 100 <= blob.area_px <= found.tissue[y0:y1, x0:x1].sum()


def test_class_numbers_are_all_tissue():
    mask = np.zeros((60, 60), dtype=np.uint8)
    mask[5:25, 5:25], mask[30:50, 30:50] = 1, 2
    assert np.array_equal(threshold_mask(mask), mask > 0)


def painted_field() -> tuple[np.ndarray, np.ndarray]:
    """Pink tissue with violet islands under a mask, and a green blob on it that the mask includes."""
    rng = np.random.default_rng(0)
    rough = cv2.GaussianBlur(rng.standard_normal((300, 400)).astype(np.float32), (0, 0), 14)
    mask = rough > np.quantile(rough, 0.7)
    image = np.where(mask[..., None], (120, 70, 160), (230, 150, 200)) + rng.normal(0, 6, (300, 400, 3))
    image = np.clip(image, 0, 255).astype(np.uint8)
    cv2.circle(image, (120, 150), 45, (40, 200, 60), -1)
    grey = mask.astype(np.uint8) * 255
    cv2.circle(grey, (120, 150), 45, 255, -1)
    return image, grey


def test_a_pasted_blob_is_taken_off_the_tissue_if_enough_remains() -> None:
    image, mask = painted_field()
    blob = np.zeros(mask.shape, np.uint8)
    cv2.circle(blob, (120, 150), 44, 1, -1)
    kept = find_blobs(image, mask, CropSettings())
    assert kept.tissue[blob > 0].all()
    assert kept.subtracted == ()
    less = find_blobs(image, mask, CropSettings(artefacts="subtract"))
    assert "green" in less.subtracted
    assert "green" in less.note
    assert less.tissue[blob > 0].mean() < 0.01
    assert less.tissue.sum() > 0.7 * (mask > 0).sum()
    only = np.where(blob > 0, 255, 0).astype(np.uint8)
    rest = find_blobs(image, only, CropSettings(artefacts="subtract", masks="given"))
    assert rest.subtracted == ()
    assert rest.tissue.sum() == blob.sum()


def test_what_was_subtracted_is_in_no_crop_of_any_scale() -> None:
    image, mask = painted_field()
    settings = CropSettings(artefacts="subtract", scales=(1, 2), tile_px=64)
    blobs = find_blobs(image, mask, settings)
    for place in find_places(blobs, settings):
        red, green, blue = np.moveaxis(cut_place(image, blobs, place, settings).astype(int), 2, 0)
        assert not ((green - red > 60) & (green - blue > 60)).any()
    assert any(place.scale == 0 for place in find_places(blobs, settings))


def test_ink_beside_the_tissue_was_not_taken_off_it() -> None:
    image, mask = painted_field()
    mask[:, :200] = 0
    found = find_blobs(image, mask, CropSettings(artefacts="subtract"))
    assert found.subtracted == ()
    assert found.note == ""
    assert (found.tissue == find_blobs(image, mask, CropSettings()).tissue).all()


@pytest.mark.parametrize(
    ("change", "masks", "says"),
    [
        (lambda mask: mask, "checked", "good"),
        (lambda mask: mask, "given", "given"),
        (lambda mask: mask * 0, "checked", "empty"),
        (lambda mask: mask * 0, "given", "empty"),
        (lambda mask: mask | 255, "given", "whole"),
        (lambda mask: mask | 255, "checked", "whole"),
        (
            lambda mask: np.pad([[255]], ((10, mask.shape[0] - 11), (10, mask.shape[1] - 11))).astype(np.uint8),
            "checked",
            "empty",
        ),
        (lambda mask: 255 - mask, "checked", "inverted"),
    ],
)
def test_what_a_mask_says_is_told(change, masks, says) -> None:
    image, mask = painted_field()
    assert find_blobs(image, change(mask), CropSettings(masks=masks)).mask == says
    assert find_blobs(image, None, CropSettings(masks=masks)).mask == ""


@pytest.mark.parametrize(
    ("damage", "source"),
    [
        (lambda mask: 255 - mask, "tissue"),
        (lambda mask: np.where(np.random.default_rng(1).random(mask.shape) < 0.1, 255 - mask, mask), "mask_cleaned"),
        (lambda mask: np.roll(mask, (60, 80), (0, 1)), "tissue"),
        (lambda mask: mask, "mask"),
    ],
)
def test_the_step_of_the_ladder_follows_the_damage(damage, source: str) -> None:
    image, mask = painted_field()
    found = find_blobs(image, damage(mask).astype(np.uint8), CropSettings())
    assert found.source == source
    assert (found.note == "") == (source == "mask")
    assert find_blobs(image, damage(mask).astype(np.uint8), CropSettings(masks="given")).source == "mask"


def test_an_image_that_shows_something_but_no_tissue_is_taken_whole() -> None:
    image = np.full((200, 200, 3), 230, np.uint8)
    image[:, 100:] = 195  # neutral and bright: glass by the colours of tissue, but not blank
    found = find_blobs(image, None, CropSettings())
    assert found.source == "whole_image"
    assert [blob.box for blob in found.blobs] == [(0, 0, 200, 200)]
