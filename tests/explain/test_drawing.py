"""Pictures: a panel for each explanation, the same bytes each time, and nothing that does not fit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from featstore.errors import DataError
from featstore.explain import BlobShare, Explanation, draw_explanations

HEIGHT, WIDTH = 120, 200
PIXELS = np.full((HEIGHT, WIDTH, 3), (230, 160, 200), np.uint8)
SQUARE = (np.array([[20, 20], [80, 20], [80, 90], [20, 90]], np.int32),)
OTHER = (SQUARE[0] + np.array([90, 0], np.int32),)
BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def explanation(**more) -> Explanation:
    heat = np.zeros((HEIGHT, WIDTH), np.float32)
    heat[40:60, 40:60] = 2
    blobs = (
        BlobShare(0, 4200, (20, 20, 80, 90), 1.5, 0.4, SQUARE),
        BlobShare(1, 4200, (110, 20, 170, 90), -0.5, 0.9, OTHER),
    )
    given = {"heatmap": heat, "method": "Grad-CAM", "blobs": blobs, "probabilities": {"A $1$": 0.8, "B": 0.2}}
    return Explanation("m5", "A $1$", 0.8, **(given | more))


def drawn(path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def has(picture, colour) -> bool:
    return bool((np.abs(picture.astype(int) - colour).max(axis=2) <= 2).any())


def test_a_panel_has_outlines_for_and_against_and_heat(tmp_path) -> None:
    draw_explanations(PIXELS, [explanation()], tmp_path / "a.png", title="img_$0000$.png")
    picture = drawn(tmp_path / "a.png")
    assert has(picture, BLUE)
    assert has(picture, ORANGE)
    assert has(picture, PIXELS[0, 0])
    draw_explanations(PIXELS, [explanation(heatmap=None, method="")], tmp_path / "b.png")
    assert has(drawn(tmp_path / "b.png"), BLUE)


def test_two_systems_stand_side_by_side_and_four_in_two_rows(tmp_path) -> None:
    sizes = []
    for count in (1, 2, 4):
        draw_explanations(PIXELS, [explanation()] * count, tmp_path / "x.png")
        sizes.append(drawn(tmp_path / "x.png").shape)
    assert sizes[1][1] > 1.7 * sizes[0][1]
    assert sizes[2][0] > 1.6 * sizes[1][0]


def test_an_explanation_without_blobs_or_with_a_cold_map_is_drawn(tmp_path) -> None:
    """As a network that sees the whole image gives it."""
    cold = np.zeros((HEIGHT, WIDTH), np.float32)
    draw_explanations(
        PIXELS, [explanation(blobs=()), explanation(heatmap=cold, notes=("nothing",))], tmp_path / "x.png"
    )
    assert cold.max() == 0


def test_the_same_is_the_same_bytes(tmp_path) -> None:
    for name in ("a.png", "b.png"):
        draw_explanations(PIXELS, [explanation()], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_does_not_fit_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="without an explanation"):
        draw_explanations(PIXELS, [], tmp_path / "x.png")
    with pytest.raises(DataError, match="the image's"):
        draw_explanations(PIXELS[:50], [explanation()], tmp_path / "x.png")
    for bad in (np.full((2, 2), np.nan, np.float32), -np.ones((2, 2), np.float32), np.zeros(3, np.float32)):
        with pytest.raises(DataError, match="heatmap"):
            explanation(heatmap=bad)


def test_the_maximum_and_the_numbers() -> None:
    said = explanation().to_dict()
    x, y = said["maximum"]["x"], said["maximum"]["y"]
    assert 40 <= x < 60
    assert 40 <= y < 60
    assert [blob["contribution"] for blob in said["blobs"]] == [1.5, -0.5]
    assert explanation(heatmap=None).to_dict()["maximum"] is None
