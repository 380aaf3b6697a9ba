"""Curves and the pointing game on scores whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from featstore.errors import DataError
from featstore.explain import area_under, deletion_curve, insertion_curve, pointing

SIDE = 20
REGION = np.zeros((SIDE, SIDE), bool)
REGION[4:9, 10:15] = True
WHITE, BLACK = (np.full((SIDE, SIDE, 3), value, np.uint8) for value in (255, 0))


def score(images):
    """Tell how much of the region is white."""
    return np.array([(image[REGION] == 255).mean() for image in images])


def test_the_region_first_is_the_best_and_last_the_worst_there_is(rng) -> None:
    maps = {"best": REGION * 1.0, "worst": 1.0 - REGION, "random": rng.random((SIDE, SIDE))}
    down = {name: area_under(deletion_curve(score, WHITE, BLACK, heat)) for name, heat in maps.items()}
    up = {name: area_under(insertion_curve(score, WHITE, BLACK, heat)) for name, heat in maps.items()}
    assert down["best"] < down["random"] < down["worst"]
    assert up["best"] > up["random"] > up["worst"]
    assert down["random"] == pytest.approx(0.5, abs=0.1)


def test_curves_go_from_the_image_to_the_baseline_and_back() -> None:
    down, up = (curve(score, WHITE, BLACK, REGION * 1.0, steps=7) for curve in (deletion_curve, insertion_curve))
    assert len(down) == len(up) == 8
    assert (down[0], down[-1], up[0], up[-1]) == (1, 0, 0, 1)


def test_of_equal_pixels_the_order_is_drawn_not_read() -> None:
    flat = np.ones((SIDE, SIDE))
    curves = [deletion_curve(score, WHITE, BLACK, flat, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(curves[0], curves[1])
    assert not np.array_equal(curves[0], curves[2])
    assert area_under(curves[0]) == pytest.approx(0.5, abs=0.1)


def test_pixels_that_are_no_numbers_stay() -> None:
    heat = np.where(REGION, np.nan, 1.0)
    assert deletion_curve(score, WHITE, BLACK, heat).min() == 1
    assert insertion_curve(score, WHITE, BLACK, heat).min() == 1


def test_the_image_is_not_changed() -> None:
    image = WHITE.copy()
    deletion_curve(score, image, BLACK, REGION * 1.0)
    np.testing.assert_array_equal(image, WHITE)


def test_area() -> None:
    assert area_under(np.array([1.0, 0.0])) == 0.5
    assert area_under(np.array([1.0, 1.0, 1.0])) == 1


def test_pointing_counts_the_share_of_maxima_inside() -> None:
    assert pointing(REGION * 1.0, REGION) == 1
    assert pointing(1.0 - REGION, REGION) == 0
    assert pointing(np.ones_like(REGION, float), REGION) == pytest.approx(REGION.mean())
    assert pointing(np.where(REGION, 1.0, np.nan), REGION) == 1


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="steps"):
        deletion_curve(score, WHITE, BLACK, REGION * 1.0, steps=0)
    with pytest.raises(DataError, match="baseline"):
        deletion_curve(score, WHITE, BLACK[:5], REGION * 1.0)
    with pytest.raises(DataError, match="region"):
        pointing(REGION[:3] * 1.0, REGION)
