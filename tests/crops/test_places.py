"""Crops of several scales and tiles: where they are, what they show, what they are called."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featstore.crops import Blobs, cut_crop, cut_place, find_blobs, find_places
from featstore.crops.places import own_tissue
from featstore.errors import SettingError
from featstore.recipe import CropSettings

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=60)).filter(np.any)
scales = st.lists(st.integers(2, 9), max_size=3, unique=True).map(lambda more: (1, *sorted(more)))


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    """An image in which every pixel has a colour of its own, none of them the fill."""
    rows, columns = np.indices(shape)
    return np.stack([rows, columns, np.full(shape, 7)], axis=2).astype(np.uint8)


def found(mask: np.ndarray, **given) -> tuple[np.ndarray, Blobs, CropSettings]:
    crops = CropSettings(min_area_px=1, masks="given", **given)
    image = numbered(mask.shape)
    return image, find_blobs(image, mask.astype(np.uint8), crops), crops


@given(masks, scales)
@settings(max_examples=100, deadline=None)
def test_scale_1_is_the_crop_that_it_was_and_more_scales_change_no_earlier_number(mask, wanted) -> None:
    image, blobs, crops = found(mask, scales=wanted)
    places = find_places(blobs, crops)
    assert [place.number for place in places] == list(range(len(blobs.blobs) * len(wanted)))
    assert [(place.scale, place.parent) for place in places] == [(s, b.index) for s in wanted for b in blobs.blobs]
    for blob, place in zip(blobs.blobs, places, strict=False):
        assert place.row == (blob.index, blob.area_px, *blob.box, 1, blob.index)
        np.testing.assert_array_equal(cut_place(image, blobs, place, crops), cut_crop(image, blobs, blob, crops))
    fewer = dataclasses.replace(crops, scales=wanted[:-1] or (1,))
    assert places[: len(find_places(blobs, fewer))] == find_places(blobs, fewer)


@given(masks, st.integers(2, 9))
@settings(max_examples=100, deadline=None)
def test_a_wider_square_shows_what_is_there_and_fill_only_outside_the_image(mask, scale) -> None:
    image, blobs, crops = found(mask, scales=(1, scale))
    places = find_places(blobs, crops)
    for place, own in zip(places[len(blobs.blobs) :], places, strict=False):
        crop = cut_place(image, blobs, place, crops)
        x0, y0, x1, y1 = place.window
        assert all(wide <= narrow for wide, narrow in zip(place.window[:2], own.window[:2], strict=True))
        assert all(wide >= narrow for wide, narrow in zip(place.window[2:], own.window[2:], strict=True))
        assert crop.shape[0] == max(x1 - x0, y1 - y0) >= own.square[0]
        _, left, top = place.square
        np.testing.assert_array_equal(crop[top : top + y1 - y0, left : left + x1 - x0], image[y0:y1, x0:x1])
        assert np.count_nonzero((crop == 128).all(axis=2)) == crop.shape[0] ** 2 - (x1 - x0) * (y1 - y0)


def test_a_wider_square_has_the_blob_in_its_middle() -> None:
    mask = np.zeros((400, 400), np.bool_)
    mask[180:220, 190:210] = True
    _, blobs, crops = found(mask, scales=(1, 2, 4), margin=0)
    boxes = [place.box for place in find_places(blobs, crops)]
    assert boxes == [(190, 180, 210, 220), (160, 160, 240, 240), (120, 120, 280, 280)]


@given(masks, st.integers(16, 40))
@settings(max_examples=150, deadline=None)
def test_tiles_cover_the_tissue_of_each_blob_exactly_once(mask, side) -> None:
    _, blobs, crops = found(mask, tile_px=side, tile_tissue=0.0)
    tiles = [place for place in find_places(blobs, crops) if place.scale == 0]
    for blob in blobs.blobs:
        covered = np.zeros(mask.shape, dtype=int)
        mine = [tile for tile in tiles if tile.parent == blob.index]
        for tile in mine:
            x0, y0, x1, y1 = tile.window
            covered[y0:y1, x0:x1] += 1
        x0, y0, x1, y1 = blob.box
        own = np.zeros_like(mask)
        own[y0:y1, x0:x1] = own_tissue(blobs, blob)
        assert own.sum() == blob.area_px == sum(tile.area_px for tile in mine)
        assert (covered[own] == 1).all()
        assert covered.max() == 1


@given(masks, st.integers(16, 40), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_every_blob_has_a_tile_and_others_have_enough_tissue(mask, side, share) -> None:
    image, blobs, crops = found(mask, tile_px=side, tile_tissue=share)
    places = find_places(blobs, crops)
    tiles = [place for place in places if place.scale == 0]
    assert [place.number for place in places] == list(range(len(places)))
    assert [tile.parent for tile in tiles] == sorted(tile.parent for tile in tiles)
    assert {tile.parent for tile in tiles} == {blob.index for blob in blobs.blobs}
    for tile in tiles:
        assert cut_place(image, blobs, tile, crops).shape == (side, side, 3)
        alone = sum(other.parent == tile.parent for other in tiles) == 1
        assert alone or tile.area_px >= share * side**2


def test_a_tile_shows_the_pixels_that_are_there() -> None:
    mask = np.zeros((120, 200), np.bool_)
    mask[40:80, 20:180] = np.indices((40, 160)).sum(axis=0) % 3 > 0
    image, blobs, crops = found(mask, tile_px=32)
    for tile in find_places(blobs, crops)[len(blobs.blobs) :]:
        x0, y0, x1, y1 = tile.window
        np.testing.assert_array_equal(cut_place(image, blobs, tile, crops), image[y0:y1, x0:x1])


def test_half_the_micrometres_a_pixel_make_tiles_of_twice_as_many_pixels() -> None:
    mask = np.ones((256, 256), np.bool_)
    windows = {}
    for mpp in (0.25, 0.5, 1.0):
        image, blobs, crops = found(mask, tile_px=32, mpp=0.5)
        tiles = find_places(blobs, crops, mpp)[1:]
        windows[mpp] = [tile.window for tile in tiles]
        assert {tile.square[0] for tile in tiles} == {round(32 * 0.5 / mpp)}
        assert {cut_place(image, blobs, tile, crops).shape for tile in tiles} == {(32, 32, 3)}
    assert [len(windows[mpp]) for mpp in (0.25, 0.5, 1.0)] == [16, 64, 256]
    assert windows[0.5] == [tile.window for tile in find_places(blobs, CropSettings(tile_px=32, masks="given"))[1:]]


def test_tiles_of_a_resolution_need_that_of_the_image() -> None:
    _, blobs, crops = found(np.ones((64, 64), np.bool_), tile_px=32, mpp=0.5)
    with pytest.raises(SettingError, match="resolution is not known"):
        find_places(blobs, crops)
    with pytest.raises(SettingError, match="is the image's resolution right"):
        find_places(blobs, crops, 1e-4)
    for coarse in (2.01, 250.0, 1e300):  # 250 nm, taken for µm
        with pytest.raises(SettingError, match="8 to 16384 px: is the image's resolution right"):
            find_places(blobs, crops, coarse)
    assert find_places(blobs, crops, 2.0)[-1].square[0] == 8
