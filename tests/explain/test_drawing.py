"""Pictures: a panel for each explanation, the same bytes each time, and nothing that does not fit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from featstore.drawn import is_drawn
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
        BlobShare(0, 4200, (20, 20, 80, 90), 1.5, 0.4, 0.9, SQUARE),
        BlobShare(1, 4200, (110, 20, 170, 90), -0.5, 0.9, 0.3, OTHER),
    )
    given = {"heatmap": heat, "method": "Grad-CAM", "blobs": blobs, "probabilities": {"A $1$": 0.8, "B": 0.2}}
    return Explanation("m5", "A $1$", 0.8, **(given | more))


def drawn(path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def near(colours, colour, by=2) -> np.ndarray:
    return np.abs(colours.astype(int) - np.rint(colour).astype(int)).max(axis=-1) <= by


def panel(picture):
    """Where the image lies in a picture of one panel, by its own colour: x0, y0, x1, y1."""
    rows, columns = np.nonzero(near(picture, PIXELS[0, 0]))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def at(picture, x, y) -> np.ndarray:
    """Return the picture's colour where it shows a place of the image."""
    x0, y0, x1, y1 = panel(picture)
    return picture[int(y0 + (y + 0.5) * (y1 - y0) / HEIGHT), int(x0 + (x + 0.5) * (x1 - x0) / WIDTH)]


def bar(picture) -> np.ndarray:
    """Return the colours of the bar at the right of the image from its top down, in its middle column."""
    _, y0, x1, y1 = panel(picture)
    right = picture[y0:y1, x1 + 1 :].astype(int)
    full = (right.max(axis=2) - right.min(axis=2) > 3).sum(axis=0)
    column = right[:, int(np.median(np.flatnonzero(full > 0.9 * full.max())))]
    return column[column.max(axis=1) - column.min(axis=1) > 3]


def test_heat_lies_where_it_is_and_the_bar_says_what_it_is(tmp_path) -> None:
    draw_explanations(PIXELS, [explanation()], tmp_path / "a.png", title="img_$0000$.png")
    picture = drawn(tmp_path / "a.png")
    hottest, coldest = np.array((253, 231, 37)), np.array((68, 1, 84))  # the ends of viridis
    assert near(at(picture, 50, 50), 0.65 * hottest + 0.35 * PIXELS[0, 0], by=3)
    for x, y in ((50, 75), (75, 50), (10, 50), (140, 50), (50, 110)):
        assert near(at(picture, x, y), PIXELS[0, 0]), (x, y)
    colours = bar(picture)
    assert near(colours[4], hottest, by=12)
    assert near(colours[-5], coldest, by=12)


def test_outlines_tell_for_and_against(tmp_path) -> None:
    draw_explanations(PIXELS, [explanation()], tmp_path / "a.png")
    picture = drawn(tmp_path / "a.png")
    x0, _, x1, _ = panel(picture)
    middle = int(x0 + 95 / WIDTH * (x1 - x0))  # between the blobs
    assert near(picture[:, :middle], BLUE).any()
    assert not near(picture[:, x0:middle], ORANGE).any()
    assert near(picture[:, middle:x1], ORANGE).any()
    assert not near(picture[:, middle:x1], BLUE).any()


def test_without_a_heatmap_blobs_are_filled_by_their_contribution(tmp_path) -> None:
    draw_explanations(PIXELS, [explanation(heatmap=None, method="")], tmp_path / "b.png")
    picture = drawn(tmp_path / "b.png")
    assert near(at(picture, 30, 75), np.array(BLUE) / 2 + PIXELS[0, 0] / 2, by=3)
    pale = (2 * np.array((247, 247, 247)) + np.array(ORANGE)) / 3  # a third of the largest contribution
    assert near(at(picture, 120, 75), pale / 2 + PIXELS[0, 0] / 2, by=3)
    colours = bar(picture)
    assert near(colours[4], BLUE, by=12)
    assert near(colours[-5], ORANGE, by=12)


def test_it_is_known_again_as_drawn(tmp_path) -> None:
    draw_explanations(PIXELS, [explanation()], tmp_path / "a.png")
    assert is_drawn(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "b.png"), PIXELS)
    assert not is_drawn(tmp_path / "b.png")


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
    draw_explanations(PIXELS, [explanation(blobs=(), heatmap=cold, notes=("nothing",))], tmp_path / "x.png")
    picture = drawn(tmp_path / "x.png")
    x0, y0, x1, y1 = panel(picture)
    assert near(picture[y0:y1, x0:x1], PIXELS[0, 0]).all()
    draw_explanations(PIXELS, [explanation(blobs=())], tmp_path / "y.png")
    assert not near(drawn(tmp_path / "y.png"), BLUE).any()


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
