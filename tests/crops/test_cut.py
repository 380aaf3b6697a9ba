from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featstore.crops import Blob, Blobs, cut_crop, fill_colour, find_blobs
from featstore.recipe import CropSettings

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)).filter(np.any)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    """An image in which every pixel has a colour of its own, none of them the fill (blue 128)."""
    rows, columns = np.indices(shape)
    return np.stack([rows, columns, np.full(shape, 7)], axis=2).astype(np.uint8)


@given(masks, st.floats(0, 1.5))
@settings(max_examples=150, deadline=None)
def test_square_holds_the_blob_and_fills_exactly_the_rest(mask: np.ndarray, margin: float) -> None:
    image, crops = numbered(mask.shape), CropSettings(min_area_px=1, margin=margin, masks="given")
    found = find_blobs(image, mask.astype(np.uint8), crops)
    for blob in found.blobs:
        crop = cut_crop(image, found, blob, crops)
        x0, y0, x1, y1 = blob.box
        assert crop.dtype == np.uint8
        assert crop.shape[0] == crop.shape[1] >= max(x1 - x0, y1 - y0)
        shown = crop[(crop != 128).any(axis=2)]
        places = {(int(row), int(column)) for row, column, _ in shown}
        assert len(places) == len(shown)
        assert all(mask[place] for place in places)
        inside = {(int(y) + y0, int(x) + x0) for y, x in np.argwhere(mask[y0:y1, x0:x1])}
        assert inside <= places


def test_the_box_grows_by_its_own_share_and_lies_in_the_middle() -> None:
    mask = np.zeros((200, 200), np.uint8)
    mask[80:100, 50:150] = 1
    image = numbered(mask.shape)
    everything = Blobs(np.ones(mask.shape, bool), find_blobs(image, mask, CropSettings(masks="given")).blobs, "mask")
    crop = cut_crop(image, everything, everything.blobs[0], CropSettings())
    assert crop.shape == (120, 120, 3)
    assert (crop[:48] == 128).all()
    assert (crop[72:] == 128).all()
    np.testing.assert_array_equal(crop[48:72], image[78:102, 40:160])


def test_the_box_is_clipped_at_the_image() -> None:
    image = numbered((30, 20))
    everything = Blobs(np.ones((30, 20), bool), (Blob(0, 600, (0, 0, 20, 30)),), "tissue")
    crop = cut_crop(image, everything, everything.blobs[0], CropSettings())
    np.testing.assert_array_equal(crop[:, 5:25], image)
    assert (crop[:, :5] == 128).all()
    assert (crop[:, 25:] == 128).all()


def test_other_tissue_in_the_box_stays() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 5:15] = mask[5:15, 5:35] = 1
    mask[22:26, 22:26] = 1
    image = numbered(mask.shape)
    found = find_blobs(image, mask, CropSettings(margin=0, masks="given"))
    crop = cut_crop(image, found, found.blobs[0], CropSettings(margin=0))
    np.testing.assert_array_equal(crop[17:21, 17:21], image[22:26, 22:26])


@pytest.mark.parametrize(("fill", "levels"), [((0.5, 0.5, 0.5), (128, 128, 128)), ((0, 1, 0.2), (0, 255, 51))])
def test_halves_of_the_fill_are_rounded_up(fill: tuple[float, float, float], levels: tuple[int, int, int]) -> None:
    assert tuple(fill_colour(fill).tolist()) == levels


def test_the_image_is_left_as_it_is() -> None:
    image = numbered((20, 20))
    before = image.copy()
    found = find_blobs(image, np.eye(20, dtype=np.uint8), CropSettings(min_area_px=1))
    cut_crop(image, found, found.blobs[0], CropSettings())[:] = 0
    np.testing.assert_array_equal(image, before)
