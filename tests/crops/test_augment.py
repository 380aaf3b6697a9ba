from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.crops import Draws, augment, bring_to_working_size, draw
from featstore.errors import DataError
from featstore.recipe import AugmentationSettings

GREY = (0.5, 0.5, 0.5)


def noise_crop(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@given(st.integers(1, 70), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_neutral_draws_change_nothing(neutral: Draws, side: int, seed: int) -> None:
    crop = noise_crop(side, seed)
    np.testing.assert_array_equal(augment(crop, neutral, GREY), crop)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 8, 17, 64, 224])
def test_any_size_works_and_stays(strong: Draws, side: int) -> None:
    crop = noise_crop(side)
    before = crop.copy()
    result = augment(crop, strong, GREY)
    assert (result.shape, result.dtype) == (crop.shape, np.uint8)
    np.testing.assert_array_equal(crop, before)


def test_large_crops_work(strong: Draws) -> None:
    assert augment(noise_crop(2000), strong, GREY).shape == (2000, 2000, 3)


@given(st.integers(1, 12), st.integers(1, 10_000))
@settings(max_examples=60, deadline=None)
def test_small_crops_with_usual_draws(side: int, repeat: int) -> None:
    draws = draw(AugmentationSettings(), seed=0, image_digest="small", blob=0, repeat=repeat)
    assert augment(noise_crop(side), draws, GREY).shape == (side, side, 3)


def test_a_small_crop_is_not_swept_away() -> None:
    tissue = np.full((3, 3, 3), (200, 60, 120), np.uint8)
    draws = draw(
        AugmentationSettings(rotation_deg=0, erase_probability=0), seed=0, image_digest="swept", blob=0, repeat=1
    )
    assert np.abs(augment(tissue, draws, GREY).astype(int) - tissue).max() < 90


@pytest.mark.parametrize(("across", "down"), [(True, False), (False, True), (True, True)])
def test_flips_are_exact(neutral: Draws, crop: np.ndarray, across: bool, down: bool) -> None:
    expected = crop[:: -1 if down else 1, :: -1 if across else 1]
    np.testing.assert_array_equal(
        augment(crop, replace(neutral, flip_horizontal=across, flip_vertical=down), GREY), expected
    )


@pytest.mark.parametrize(("threads", "side"), [(2, 61), (4, 300), (7, 301)])
def test_threads_change_nothing(strong: Draws, threads: int, side: int) -> None:
    crop = noise_crop(side)
    alone = augment(crop, strong, GREY)
    cv2.setNumThreads(threads)
    try:
        np.testing.assert_array_equal(augment(crop, strong, GREY), alone)
    finally:
        cv2.setNumThreads(1)


@pytest.mark.parametrize("side", [300, 720, 721])
def test_threads_and_memory_change_nothing_of_a_smaller_result(strong: Draws, side: int) -> None:
    def make(memory: np.ndarray) -> np.ndarray:
        memory[...] = noise_crop(side)
        return augment(bring_to_working_size(memory, 224), strong, GREY, side_px=side, size_px=224)

    alone = make(np.empty((side, side, 3), np.uint8))
    for threads, first in ((1, 1), (2, 3), (7, 32)):
        cv2.setNumThreads(threads)
        try:
            elsewhere = np.empty(first + 3 * side**2, np.uint8)[first:].reshape(side, side, 3)
            np.testing.assert_array_equal(make(elsewhere), alone)
        finally:
            cv2.setNumThreads(1)


def test_memory_layout_changes_nothing(strong: Draws, crop: np.ndarray) -> None:
    image = np.zeros((80, 90, 3), np.uint8)
    image[5:66, 7:68] = crop
    image.setflags(write=False)
    np.testing.assert_array_equal(augment(image[5:66, 7:68], strong, GREY), augment(crop, strong, GREY))


SCRIPT = """
import hashlib, sys
import cv2, numpy as np
from featstore.crops import augment, draw
from featstore.recipe import AugmentationSettings
cv2.setNumThreads(int(sys.argv[1]))
crop = np.arange(90 * 90 * 3, dtype=np.uint32).reshape(90, 90, 3) * 7 % 256
draws = [draw(AugmentationSettings(), seed=5, image_digest="ab", blob=1, repeat=int(r)) for r in sys.argv[2:]]
pixels = [augment(crop.astype(np.uint8), each, (0.5, 0.5, 0.5)).tobytes() for each in draws]
print(hashlib.sha256(pixels[-1]).hexdigest())
"""


def test_processes_and_the_repeats_asked_for_change_nothing() -> None:
    root = Path(__file__).resolve().parents[2]
    digests = set()
    for threads, repeats, seed in (("1", ["3"], "0"), ("2", ["1", "2", "3"], "1"), ("1", ["8", "4", "3"], "2")):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, threads, *repeats], env=environment, capture_output=True, check=True
        )
        digests.add(done.stdout)
    crop = (np.arange(90 * 90 * 3, dtype=np.uint32).reshape(90, 90, 3) * 7 % 256).astype(np.uint8)
    draws = draw(AugmentationSettings(), seed=5, image_digest="ab", blob=1, repeat=3)
    assert digests == {hashlib.sha256(augment(crop, draws, GREY).tobytes()).hexdigest().encode() + os.linesep.encode()}


def test_noise_has_its_strength_and_no_drift(neutral: Draws) -> None:
    draws = replace(neutral, noise_sigma=0.02)
    flat = np.full((200, 200, 3), 128, np.uint8)
    change = augment(flat, draws, GREY).astype(float) - 128
    assert change.std() == pytest.approx(0.02 * 255, rel=0.02)
    assert abs(change.mean()) < 0.1
    assert np.abs(np.corrcoef(change.reshape(-1, 3), rowvar=False) - np.eye(3)).max() < 0.03


def test_blur_only_when_drawn(neutral: Draws, crop: np.ndarray) -> None:
    np.testing.assert_array_equal(augment(crop, replace(neutral, blur_sigma_px=2.0), GREY), crop)
    blurred = augment(crop, replace(neutral, blur=True, blur_sigma_px=2.0), GREY)
    assert np.abs(np.diff(blurred.astype(int), axis=0)).mean() < np.abs(np.diff(crop.astype(int), axis=0)).mean()


@given(st.floats(0.02, 0.12), st.floats(0.3, 3.3), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
@settings(max_examples=50, deadline=None)
def test_erased_is_one_rectangle_of_exactly_the_fill(
    neutral: Draws, area: float, aspect: float, x: float, y: float
) -> None:
    crop = np.zeros((100, 100, 3), np.uint8)
    draws = replace(neutral, erase=True, erase_area=area, erase_aspect=aspect, erase_x=x, erase_y=y)
    result = augment(crop, draws, (0.2, 0.5, 1.0))
    erased = (result != 0).any(axis=2)
    rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
    assert erased.sum() == rows.size * columns.size
    assert (result[erased] == (51, 128, 255)).all()
    assert rows.size * columns.size == pytest.approx(area * 100**2, rel=0.08)
    assert columns.size / rows.size == pytest.approx(aspect, rel=0.12)


def test_erasing_more_than_the_crop_fills_it(neutral: Draws, crop: np.ndarray) -> None:
    draws = replace(neutral, erase=True, erase_area=1.0, erase_aspect=3.0)
    assert augment(crop, draws, GREY).shape == crop.shape


def test_erased_stays_clean_of_noise(strong: Draws) -> None:
    result = augment(np.zeros((100, 100, 3), np.uint8), strong, GREY)
    assert (result == 128).all(axis=2).sum() >= 0.02 * 100 * 100


@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((4, 5, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_arrays_of_another_kind_are_refused(neutral: Draws, crop: np.ndarray) -> None:
    with pytest.raises(DataError, match="square RGB crop"):
        augment(crop, neutral, GREY)


def test_real_tissue_stays_tissue(read_pair) -> None:
    image, _ = read_pair("he1024/img_0012.png")
    crop = np.ascontiguousarray(image[:224, :224])
    for repeat in range(1, 9):
        draws = draw(AugmentationSettings(), seed=0, image_digest="real", blob=0, repeat=repeat)
        result = augment(crop, draws, GREY).astype(float)
        red, green, blue = result.mean(axis=(0, 1))
        assert green < min(red, blue)
        assert 20 < result.std() < 90
