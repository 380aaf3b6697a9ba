from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from featstore.crops import Draws, augment
from featstore.crops.geometry import cell_px, displacement
from tests.crops.literal import displace_literally

FILL = (0.2, 0.5, 1.0)
LEVELS = (51, 128, 255)


@pytest.mark.parametrize("degrees", [-15, 7, 15, 45])
def test_what_rotation_brings_in_is_the_fill(neutral: Draws, degrees: float) -> None:
    result = augment(np.zeros((101, 101, 3), np.uint8), replace(neutral, rotation_deg=degrees), FILL)
    assert (result[[0, 0, -1, -1], [0, -1, 0, -1]] == LEVELS).all()
    assert (result[30:71, 30:71] == 0).all()


def test_a_crop_of_the_fill_stays_so(neutral: Draws) -> None:
    crop = np.full((60, 60, 3), LEVELS, np.uint8)
    draws = replace(neutral, rotation_deg=12.0, elastic_alpha_px=25.0, blur=True, blur_sigma_px=1.5)
    np.testing.assert_array_equal(augment(crop, draws, FILL), crop)


def test_rotation_is_counter_clockwise_about_the_centre(neutral: Draws, crop: np.ndarray) -> None:
    turned = augment(crop, replace(neutral, rotation_deg=90.0), FILL)
    assert np.abs(turned.astype(int) - np.rot90(crop)).max() <= 1


def test_there_and_back_is_near_the_crop(neutral: Draws, crop: np.ndarray) -> None:
    there = augment(crop, replace(neutral, rotation_deg=10.0), FILL)
    back = augment(there, replace(neutral, rotation_deg=-10.0), FILL)
    assert np.abs(back[15:-15, 15:-15].astype(int) - crop[15:-15, 15:-15]).mean() < 4


@pytest.mark.parametrize(("sigma", "cell"), [(1.0, 1), (3.0, 1), (4.0, 2), (7.0, 4), (14.0, 8), (10.4, 5)])
def test_displacement_has_simards_strength_and_smoothness(neutral: Draws, sigma: float, cell: int) -> None:
    """That of noise for each pixel, whatever the cells are that it is drawn for."""
    assert cell_px(sigma) == cell
    draws = replace(neutral, elastic_alpha_px=25.0, elastic_sigma_px=sigma)
    fields = [displacement(replace(draws, elastic_key=key), 300, 300)[40:-40, 40:-40] for key in range(8)]
    # Uniform noise has a spread of 1/sqrt(3), of which a Gaussian of sigma leaves 1 / (2 sqrt(pi) sigma).
    spread = 25 / 3**0.5 / (2 * np.pi**0.5 * sigma)
    assert np.std(fields) == pytest.approx(spread, rel=0.06)
    # Of two places sigma apart, the field has in common exp(-1/4).
    far = round(sigma)
    common = np.mean([(field[:, far:] * field[:, :-far]).mean() for field in fields]) / spread**2
    assert common == pytest.approx(np.exp(-((far / sigma) ** 2) / 4), abs=0.08)
    assert abs(np.corrcoef(np.stack(fields).reshape(-1, 2), rowvar=False)[0, 1]) < 0.1


@pytest.mark.parametrize("side", [40, 225, 448, 720, 721, 1117])
def test_the_field_is_the_literal_one_at_any_size(neutral: Draws, side: int) -> None:
    """But for a hundredth of a pixel: all of a cell's noise counts as being in its middle."""
    draws, size = replace(neutral, elastic_alpha_px=25.0), min(side, 224)
    literal = displace_literally(draws, side)
    assert np.abs(displacement(draws, side, side) - literal).mean() < 0.013
    expected = cv2.resize(literal, (size, size), interpolation=cv2.INTER_AREA) * (size / side)
    field = displacement(draws, side, size)
    assert np.abs(field - expected).mean() < 0.013
    assert field.std() == pytest.approx(expected.std(), rel=0.025)


def test_deformation_moves_pixels_by_the_field(neutral: Draws) -> None:
    draws = replace(neutral, elastic_alpha_px=25.0)
    columns = np.tile(np.arange(100, dtype=np.uint8) * 2, (100, 1))
    moved = augment(np.repeat(columns[..., np.newaxis], 3, axis=2), draws, FILL)
    expected = columns + 2 * displacement(draws, 100, 100)[..., 0]
    assert np.abs(moved[5:-5, 5:-5, 0] - expected[5:-5, 5:-5]).max() < 0.8


def test_deformation_brings_in_the_fill(neutral: Draws) -> None:
    result = augment(np.zeros((40, 40, 3), np.uint8), replace(neutral, elastic_alpha_px=500.0), (1.0, 1.0, 1.0))
    assert result.max() == 255


def test_noise_that_is_not_smoothed_may_be_asked_for(neutral: Draws) -> None:
    field = displacement(replace(neutral, elastic_alpha_px=2.0, elastic_sigma_px=0.0), 50, 50)
    assert -2 < field.min() < -1.9
    assert 1.9 < field.max() < 2
