"""How well a mask fits its image: damaged masks are told, good ones left alone, on made-up and on real ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.dataset import MaskLimits, clean_mask, measure_mask

HEIGHT, WIDTH = 300, 400


def field(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pink tissue with violet islands of many shapes, and a mask of these."""
    rng = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 14)
    mask = rough > np.quantile(rough, 0.8)
    image = np.where(mask[..., None], (120, 70, 160), (230, 150, 200)) + rng.normal(0, 8, (HEIGHT, WIDTH, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def moved(mask: np.ndarray, x: int, y: int) -> np.ndarray:
    return cv2.warpAffine(mask.view(np.uint8), np.float32([[1, 0, x], [0, 1, y]]), mask.shape[::-1]).astype(bool)


def test_a_good_mask_has_no_reason() -> None:
    found = measure_mask(*field())
    assert found.reasons == ()
    assert found.coverage == pytest.approx(0.2, abs=1e-3)
    assert found.agreement == 1
    assert found.fit > 0.9
    assert found.score > 0.9


@given(st.integers(-70, 70), st.integers(-60, 60), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_shift_is_measured(x: int, y: int, seed: int) -> None:
    image, mask = field(seed)
    found = measure_mask(image, moved(mask, x, y))
    assert np.abs(np.add(found.offset_px, (x, y))).max() <= 3
    if max(abs(x), abs(y)) > 30:
        assert found.reasons == ("misplaced",)
        assert found.score < 0.7
    if max(abs(x), abs(y)) <= 8:
        assert found.reasons == ()


def test_each_damage_has_its_reason() -> None:
    image, mask = field()
    rng = np.random.default_rng(0)
    assert measure_mask(image, np.zeros_like(mask)).reasons == ("empty",)
    assert measure_mask(image, ~mask).reasons == ("inverted",)
    assert measure_mask(image, mask ^ (rng.random(mask.shape) < 0.1)).reasons == ("noisy",)
    glass = image.copy()
    glass[:, WIDTH // 2 :] = 245
    right = np.zeros_like(mask)
    right[20:80, WIDTH - 90 : WIDTH - 20] = True
    assert "off_tissue" in measure_mask(glass, right).reasons


def test_nothing_is_held_against_masks_of_images_that_show_nothing() -> None:
    _, mask = field()
    for level in (0, 200, 255):
        assert measure_mask(np.full((HEIGHT, WIDTH, 3), level, np.uint8), mask).reasons == ()


def test_things_that_shine_on_a_dark_ground() -> None:
    _, mask = field()
    image = np.where(mask[..., None], (40, 60, 220), (5, 5, 12)).astype(np.uint8)
    assert measure_mask(image, mask).fit > 0.9
    assert measure_mask(image, ~mask).reasons[0] == "inverted"


def test_the_figures_are_those_of_the_mask() -> None:
    image = field()[0]
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[0:50, 0:100] = True
    mask[100:150, 100:150] = True
    mask[110:120, 110:120] = False
    found = measure_mask(image, mask)
    assert found.fragments == 2
    assert found.border == pytest.approx((100 + 49) / (2 * (HEIGHT + WIDTH) - 4))
    assert found.holes == pytest.approx(100 / 7500)
    assert found.coverage == pytest.approx(7400 / (HEIGHT * WIDTH))
    assert found.to_dict()["score"] == found.score


@pytest.mark.parametrize("seed", range(40))
def test_a_region_of_tissue_need_not_follow_nuclei(seed) -> None:
    """Annotators outline what they see: whether nuclei lie in it or beside it is no fault."""
    image, _ = field(seed % 5)
    rng = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    place, size = rng.integers((60, 60), (WIDTH - 60, HEIGHT - 60)), rng.integers(25, 90, 2)
    cv2.ellipse(mask, tuple(map(int, place)), tuple(map(int, size)), float(rng.uniform(0, 180)), 0, 360, 1, -1)
    assert measure_mask(image, mask > 0).reasons == ()


@pytest.mark.parametrize("flip", [np.s_[::-1], np.s_[:, ::-1]])
def test_orientation_does_not_matter(flip) -> None:
    image, mask = field(1)
    one, other = measure_mask(image, mask), measure_mask(image[flip].copy(), mask[flip].copy())
    assert one.fit == pytest.approx(other.fit, abs=1e-6)
    assert one.reasons == other.reasons


def test_cleaning_takes_dust_and_what_lies_on_glass() -> None:
    image, mask = field()
    image[:, 300:] = 245
    mask[:, 300:] = False
    dirty = mask ^ (np.random.default_rng(0).random(mask.shape) < 0.1)
    cleaned = clean_mask(image, dirty)
    assert measure_mask(image, cleaned).reasons == ()
    assert (cleaned != mask).mean() < 0.01 < (dirty != mask).mean()


def test_limits_can_be_set() -> None:
    image, mask = field()
    assert measure_mask(image, ~mask, MaskLimits(inverted=-1)).reasons == ()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (40, 1)])
def test_tiny_masks_do_not_fail(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert 0 <= measure_mask(image, np.ones(size, bool)).score <= 1


def test_real_masks_are_good(real, read_pair) -> None:
    for name in ("he1024/img_0000.png", "he1024/img_0013.png", "dsb2018/train_data/img_0004.png"):
        image, mask = read_pair(name)
        assert measure_mask(image, mask > 0).reasons == ()
        assert "inverted" in measure_mask(image, mask == 0).reasons
