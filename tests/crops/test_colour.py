from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featstore.crops import Draws, augment
from featstore.crops.colour import STAINS, jitter, perturb_stains

GREY = (0.5, 0.5, 0.5)
crops = hnp.arrays(np.uint8, st.integers(1, 8).map(lambda side: (side, side, 3)))
factors = st.floats(0.5, 1.5)


def unit(crop: np.ndarray) -> np.ndarray:
    return crop.astype(np.float32) / np.float32(255)


@given(crops, factors)
@settings(max_examples=50, deadline=None)
def test_brightness_blends_with_black(neutral: Draws, crop: np.ndarray, factor: float) -> None:
    expected = np.clip(unit(crop) * factor, 0, 1)
    np.testing.assert_allclose(jitter(unit(crop), replace(neutral, brightness=factor)), expected, atol=1e-6)


@given(crops, factors)
@settings(max_examples=50, deadline=None)
def test_contrast_blends_with_the_mean_grey(neutral: Draws, crop: np.ndarray, factor: float) -> None:
    pixels = unit(crop)
    grey = (pixels @ (0.299, 0.587, 0.114)).mean()
    expected = np.clip(factor * pixels + (1 - factor) * grey, 0, 1)
    np.testing.assert_allclose(jitter(pixels, replace(neutral, contrast=factor)), expected, atol=1e-5)


@given(crops, factors)
@settings(max_examples=50, deadline=None)
def test_saturation_blends_with_each_grey(neutral: Draws, crop: np.ndarray, factor: float) -> None:
    pixels = unit(crop)
    grey = (pixels @ (0.299, 0.587, 0.114))[..., np.newaxis]
    expected = np.clip(factor * pixels + (1 - factor) * grey, 0, 1)
    np.testing.assert_allclose(jitter(pixels, replace(neutral, saturation=factor)), expected, atol=1e-5)


@given(st.tuples(*[st.integers(0, 255)] * 3), st.floats(-0.5, 0.5).filter(bool))
@settings(max_examples=100, deadline=None)
def test_hue_turns_the_colour_circle(neutral: Draws, colour: tuple[int, int, int], share: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in colour))
    expected = colorsys.hsv_to_rgb((hue + share) % 1, saturation, value)
    pixels = unit(np.full((1, 1, 3), colour, np.uint8))
    np.testing.assert_allclose(jitter(pixels, replace(neutral, hue=share))[0, 0], expected, atol=2e-5)


@given(crops)
@settings(max_examples=50, deadline=None)
def test_neutral_stains_change_at_most_a_level(neutral: Draws, crop: np.ndarray) -> None:
    almost = replace(neutral, stain_alpha=(1 + 1e-9, 1.0, 1.0))
    assert np.abs(augment(crop, almost, GREY).astype(int) - crop).max() <= 1


@pytest.mark.parametrize("stain", [0, 1, 2])
def test_alpha_scales_one_stain_alone(neutral: Draws, stain: int) -> None:
    amounts = np.array([0.4, 0.5, 0.3])
    alpha = np.ones(3)
    alpha[stain] = 1.2
    pixels = np.exp(-(amounts @ STAINS)).astype(np.float32).reshape(1, 1, 3)
    result = perturb_stains(pixels, replace(neutral, stain_alpha=tuple(alpha.tolist())))
    np.testing.assert_allclose(-np.log(result[0, 0]), (amounts * alpha) @ STAINS, atol=1e-5)


@pytest.mark.parametrize("stain", [0, 1, 2])
def test_beta_adds_one_stain_alone(neutral: Draws, stain: int) -> None:
    beta = np.zeros(3)
    beta[stain] = 0.1
    result = perturb_stains(np.full((1, 1, 3), 0.6, np.float32), replace(neutral, stain_beta=tuple(beta.tolist())))
    np.testing.assert_allclose(-np.log(result[0, 0]), -np.log(0.6) + 0.1 * STAINS[stain], atol=1e-5)


def test_stains_are_those_of_scikit_image() -> None:
    color = pytest.importorskip("skimage.color")
    np.testing.assert_array_equal(STAINS, color.rgb_from_hed)


@given(crops, st.floats(0.8, 1.2), st.floats(-0.1, 0.1))
@settings(max_examples=50, deadline=None)
def test_colours_stay_in_range(neutral: Draws, crop: np.ndarray, alpha: float, beta: float) -> None:
    draws = replace(neutral, stain_alpha=(alpha, 1.0, 2 - alpha), stain_beta=(beta, -beta, beta), hue=alpha - 1)
    pixels = perturb_stains(jitter(unit(crop), draws), draws)
    assert pixels.dtype == np.float32
    assert pixels.min() >= 0
    assert pixels.max() <= 1
