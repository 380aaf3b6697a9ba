"""The built-in encoder: finite for anything, the same every time, and about the tissue."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import featstore.encoders.stain_texture.typical as table
from featstore.encoders import StainTexture, load_encoder
from featstore.encoders.stain_texture.encoder import describe
from featstore.encoders.stain_texture.fill import find_fill
from featstore.encoders.stain_texture.view import WORKING_SIDE_PX, look
from featstore.errors import DataError

ENCODER = StainTexture()


def embed(crop: np.ndarray) -> np.ndarray:
    return ENCODER.encode([ENCODER.prepare(crop)])[0]


def value(crop: np.ndarray, name: str) -> float:
    amounts, character, _ = describe(crop)
    return (amounts | character)[name]


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of two crops in embedding units: the spread of typical tissue."""
    return float(np.abs(embed(first) - embed(second)).mean())


def test_what_the_recipe_and_the_record_say():
    assert ENCODER.settings.name == "stain-texture"
    assert 100 <= ENCODER.settings.dim <= 400
    assert ENCODER.settings.weights_digest == "none"
    assert ENCODER.settings.input_size_px == 0
    assert ENCODER.fill == (0.5, 0.5, 0.5)
    assert ENCODER.in_worker
    assert {"device", "precision", "opencv", "scikit-image", "numpy"} <= ENCODER.how.keys()


def test_the_table_has_every_descriptor_in_order(tissue_crop):
    amounts, character, tissue_px = describe(tissue_crop())
    assert list(amounts | character) == list(table.typical())
    assert len(amounts | character) == len(amounts) + len(character) == ENCODER.settings.dim
    assert 9_000 < tissue_px < 12_000
    assert all(spread > 0 for _, spread in table.typical().values())


def test_the_table_is_measured_by_its_own_function(tissue_crop):
    described = [{"a": 1.0, "b": 0.0}, {"a": 2.0, "b": 0.0}, {"a": 6.0, "b": 0.0}]
    measured = table.measure_typical(described)
    assert measured["a"] == (2.0, pytest.approx(np.std([1, 2, 6]), rel=1e-4))
    assert measured["b"] == (0.0, table.MIN_SPREAD)


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
@settings(max_examples=40, deadline=None)
def test_finite_for_anything(crop):
    embedding = embed(crop)
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()
    assert np.abs(embedding).max() <= 20


@pytest.mark.parametrize("level", [0, 12, 128, 207, 255])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 64, 300])
def test_finite_for_crops_of_one_colour(level, side):
    assert np.isfinite(embed(np.full((side, side, 3), level, np.uint8))).all()


def test_the_same_every_time_whatever_the_batch(tissue_crop, random_crop):
    crops = [tissue_crop(seed=seed) for seed in range(3)] + [random_crop(33), tissue_crop(400)]
    together = ENCODER.encode(crops)
    np.testing.assert_array_equal(together, np.stack([embed(crop) for crop in crops]))
    np.testing.assert_array_equal(together[::-1], ENCODER.encode(crops[::-1]))
    assert ENCODER.encode([]).shape == (0, ENCODER.settings.dim)


def test_threads_of_opencv_change_nothing(tissue_crop):
    before = cv2.getNumThreads()
    try:
        found = []
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            found.append(embed(tissue_crop(500, nuclei=16)))
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_it_can_go_to_a_worker(tissue_crop):
    crop = tissue_crop()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        prepared = pool.submit(ENCODER.prepare, crop).result()
        there = pool.submit(ENCODER.encode, [prepared]).result()
    np.testing.assert_array_equal(there, ENCODER.encode([ENCODER.prepare(crop)]))


def test_the_crop_is_not_changed(tissue_crop):
    crop = tissue_crop()
    before = crop.copy()
    embed(crop)
    np.testing.assert_array_equal(crop, before)


@pytest.mark.parametrize("crop", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_only_rgb_of_8_bits(crop):
    with pytest.raises(DataError, match="uint8"):
        ENCODER.encode([crop])


def different(tissue_crop) -> float:
    """How far apart crops are that do differ: the measure of what counts as near."""
    return apart(tissue_crop(nuclei=4, radius=5), tissue_crop(nuclei=16, radius=9))


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.rot90])
def test_nearly_the_same_mirrored_and_turned(tissue_crop, turn):
    crop = tissue_crop()
    assert apart(crop, np.ascontiguousarray(turn(crop))) < 0.1 * different(tissue_crop)


def test_nearly_the_same_elsewhere_in_the_crop(tissue_crop):
    assert apart(tissue_crop(), tissue_crop(at=(9, -6))) < 0.1 * different(tissue_crop)


def test_nearly_the_same_with_a_few_pixels_changed(tissue_crop):
    crop = tissue_crop()
    changed = crop.copy()
    changed[90:92, 100:102] += 3
    assert apart(crop, changed) < 0.05 * different(tissue_crop)


def test_noise_matters_less_than_tissue(tissue_crop):
    crop = tissue_crop()
    noise = np.random.default_rng(0).normal(0, 0.02 * 255, crop.shape)
    noisy = np.clip(np.rint(crop + noise), 0, 255).astype(np.uint8)
    assert apart(crop, noisy) < 0.5 * different(tissue_crop)


@pytest.mark.parametrize("shift", [(0, 0, 0), (12, 8, 10), (-25, -18, -30), (30, 22, 12)])
@pytest.mark.parametrize("sigma", [0.0, 7.6])
def test_the_fill_is_found_where_augmentation_moved_it(tissue_crop, shift, sigma):
    crop = tissue_crop()
    noise = np.random.default_rng(0).normal(0, sigma, crop.shape)
    moved = np.clip(np.rint(crop + np.array(shift) + noise), 0, 255).astype(np.uint8)
    true = (crop == 128).all(axis=2)
    side = min(200, WORKING_SIDE_PX)
    small = cv2.resize(true.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    found = find_fill(cv2.GaussianBlur(cv2.resize(moved, (side, side), interpolation=cv2.INTER_AREA), (0, 0), 1.0))
    assert found[small > 0.99].mean() > 0.97
    assert found[small < 0.01].mean() < 0.05


def test_an_erased_rectangle_is_fill_too(tissue_crop):
    crop = np.clip(tissue_crop().astype(int) + 15, 0, 255).astype(np.uint8)
    crop[80:110, 90:120] = 128
    found = find_fill(crop)
    assert found[82:108, 92:118].all()
    assert found[:30, :30].all()
    assert found[50:70, 90:110].mean() < 0.05


def test_tissue_without_fill_has_none(real_crops):
    for crop in real_crops:
        inside = crop[(crop != 128).any(axis=2)]
        assert len(inside) > 1000
        patch = inside[: len(inside) // 32 * 32][: 64 * 64].reshape(-1, 32, 3)
        assert look(np.ascontiguousarray(patch)).fill_share < 0.02


def test_it_counts_nuclei(tissue_crop):
    counts = [value(tissue_crop(nuclei=number), "nuclei_count") * 10 for number in (4, 8, 12, 16)]
    np.testing.assert_allclose(counts, [4, 8, 12, 16], atol=3)


def test_it_tells_large_nuclei_from_small(tissue_crop):
    radii = [value(tissue_crop(radius=radius), "nuclei_radius_mean") * 10 for radius in (5, 7, 9, 11)]
    assert radii == sorted(radii)
    assert radii[-1] > 1.5 * radii[0]


def test_touching_nuclei_are_told_apart(tissue_crop):
    crop = tissue_crop(160, nuclei=0)
    for x in (62, 80, 98):
        cv2.circle(crop, (x, 80), 10, (96, 60, 140), -1, cv2.LINE_AA)
    assert value(crop, "regions_count") * 10 == pytest.approx(1)
    assert value(crop, "nuclei_count") * 10 == pytest.approx(3)


def test_sizes_are_in_pixels_of_the_crop_whatever_its_size(tissue_crop):
    """A larger crop is brought down to the working size; its nuclei must not look smaller for it."""
    near, far = tissue_crop(170), tissue_crop(510)
    for name in ("nuclei_radius_mean", "regions_size_mean", "nuclear_area"):
        assert value(far, name) == pytest.approx(value(near, name), rel=0.35)
    assert value(far, "side") == pytest.approx(5.1)


def test_small_crops_are_not_upscaled(tissue_crop):
    small, large = look(tissue_crop(150)), look(tissue_crop(600))
    assert small.scale == 1
    assert small.seen.sum() == pytest.approx((tissue_crop(150) != 128).any(axis=2).sum(), rel=0.1)
    assert large.scale == pytest.approx(600 / WORKING_SIDE_PX)


def test_only_what_is_seen_is_looked_at(tissue_crop):
    """Fill around the tissue costs no time and leaves the tissue's character as it is, to the last pixel."""
    near, far = describe(tissue_crop(150))[1], describe(tissue_crop(166))[1]
    assert far == pytest.approx(near, abs=1e-6)
    assert max(look(tissue_crop(166)).seen.shape) < 140


def test_little_tissue_is_drawn_towards_typical(tissue_crop):
    """The character of a speck is hardly known; an embedding says so by staying near the middle."""
    crop = np.full((200, 200, 3), 128, np.uint8)
    crop[95:105, 95:105] = tissue_crop()[95:105, 95:105]
    amounts, _, _ = describe(crop)
    character = slice(len(amounts), None)
    assert (
        np.abs(embed(crop)[character]).mean() < 0.1 * np.abs(embed(tissue_crop(nuclei=16, radius=9))[character]).mean()
    )


def test_glass_is_not_tissue():
    crop = np.full((60, 60, 3), 240, np.uint8)
    crop[:, :30] = (180, 90, 160)
    view = look(crop)
    assert view.glass_share == pytest.approx(0.5, abs=0.05)
    assert view.tissue_share == pytest.approx(0.5, abs=0.05)


def test_real_tissue_is_within_what_is_typical(real_crops):
    embeddings = load_encoder("stain-texture").encode(real_crops)
    assert np.median(np.abs(embeddings)) < 1.5
    assert np.abs(embeddings).max() < 20


def test_the_table_lies_in_the_package():
    assert (Path(table.__file__).parent / "typical.json").is_file()
