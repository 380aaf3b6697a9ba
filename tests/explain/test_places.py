"""From crops back to the image: the way of `cut_crop` and of the encoder's resize, backwards."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from featstore.crops import cut_crop, find_blobs
from featstore.crops.cut import grow_box
from featstore.explain.places import lay_over, outline_of
from featstore.recipe import CropSettings

HEIGHT, WIDTH = 150, 200
BOXES = [(60, 40, 120, 70), (0, 90, 20, 150), (150, 10, 200, 60)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("way", ["x", "y"])
def test_a_crop_laid_over_is_where_it_was_cut(box, way) -> None:
    """A slope along one way, cut and brought to 64 pixels, comes back to its own place: a pixel too far would show."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    slope = (30 + 1.1 * {"x": x, "y": y}[way]).astype(np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y0:y1, x0:x1] = 255
    settings = CropSettings(masks="given")
    blobs = find_blobs(np.dstack([slope] * 3), mask, settings)
    crop = cut_crop(np.dstack([slope] * 3), blobs, blobs.blobs[0], settings)[..., 0]
    seen = cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    heat = lay_over(seen[None], [box], settings.margin, (HEIGHT, WIDTH))
    inner = np.s_[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4]
    wrong = heat[inner] - slope[inner]
    assert np.abs(wrong).max() < 1.5
    assert abs(wrong.mean()) < 0.55  # of 1.1 a pixel


@pytest.mark.parametrize("box", BOXES)
def test_it_is_zero_outside_the_crop(box) -> None:
    x0, y0, x1, y1 = grow_box(box, 0.1, WIDTH, HEIGHT)
    heat = lay_over(np.ones((1, 4, 4), np.float32), [box], 0.1, (HEIGHT, WIDTH))
    assert heat[y0:y1, x0:x1].min() == 1
    assert heat.sum() == (y1 - y0) * (x1 - x0)


def test_what_lies_on_the_square_s_padding_is_cut_off() -> None:
    """A wide box leaves padding above and below it; heat there is nowhere on the image."""
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 0] = maps[0, -1] = 1
    assert not lay_over(maps, [(60, 40, 140, 60)], 0.0, (HEIGHT, WIDTH)).any()


def test_where_crops_overlap_the_larger_value_holds() -> None:
    maps = np.stack([np.full((4, 4), value, np.float32) for value in (1, 3)])
    boxes = [(20, 20, 80, 80), (60, 20, 120, 80)]
    for order in ([0, 1], [1, 0]):
        heat = lay_over(maps[order], [boxes[n] for n in order], 0.0, (HEIGHT, WIDTH))
        assert (heat[50, 30], heat[50, 70], heat[50, 100]) == (1, 3, 3)


def test_an_outline_goes_round_its_own_blob_alone() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(mask, (100, 75), (60, 60), 0, 30, 330, 255, 6)  # an open ring, and a disc inside its box
    cv2.circle(mask, (100, 75), 20, 255, -1)
    blobs = find_blobs(np.zeros((HEIGHT, WIDTH, 3), np.uint8), mask, CropSettings())
    for blob in blobs.blobs:
        (curve,) = outline_of(blobs, blob)
        filled = cv2.fillPoly(np.zeros_like(mask), [curve.reshape(-1, 1, 2)], 1)
        assert int(filled.sum()) == pytest.approx(blob.area_px, rel=0.02)


def test_a_whole_mask_taken_as_one_has_all_its_specks() -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:14, 10:14] = mask[90:94, 150:154] = 255
    blobs = find_blobs(np.zeros((HEIGHT, WIDTH, 3), np.uint8), mask, CropSettings())
    assert len(outline_of(blobs, blobs.blobs[0])) == 2
