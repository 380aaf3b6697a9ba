"""Contact sheets: every tile is there in its place, the same tiles are the same bytes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from featstore.drawn import is_drawn
from featstore.errors import DataError
from featstore.report.sheets import ORANGE, Tile, draw_sheet, outlined, thumbnail
from featstore.report.words import shown


def drawn(path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def plain(colour, height=40, width=60) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_every_tile_is_there_whole_and_in_order(tmp_path) -> None:
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255)]]
    rows = [[Tile(plain(colour), ("a line", "another")) for colour in row] for row in colours]
    draw_sheet(rows, tmp_path / "a.png", "a title")
    picture = drawn(tmp_path / "a.png")
    places = {}
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        y, x = np.nonzero((picture == colour).all(axis=2))
        assert len(y) == 40 * 60
        places[colour] = (y.min(), x.min())
    assert places[255, 0, 0][0] == places[0, 255, 0][0] < places[0, 0, 255][0]
    assert places[255, 0, 0][1] == places[0, 0, 255][1] < places[0, 255, 0][1]


def test_the_same_is_the_same_bytes_and_known_as_drawn(tmp_path) -> None:
    for name in ("a.png", "b.png"):
        draw_sheet([[Tile(plain(9), ("ü",))]], tmp_path / name, "x")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert is_drawn(tmp_path / "a.png")


def test_a_long_name_stays_under_its_own_tile(tmp_path) -> None:
    """Nothing is written over the next one."""
    draw_sheet([[Tile(plain(0), ("i" * 400,)), Tile(plain(0))]], tmp_path / "a.png")
    picture = drawn(tmp_path / "a.png")
    assert (picture[60:, 12 + 60 + 2 :] == 255).all()
    assert (picture[60:, : 12 + 60] < 128).any()


@pytest.mark.parametrize("name", ["a\nb", "\r\x1c\x85\u2029", "\u202etxt.exe", "\udc80", "שלום עולם", "\t"])
def test_a_name_may_hold_anything(tmp_path, name: str) -> None:
    """Line ends and what turns the direction of text are escaped, as everywhere else, and end no drawing."""
    draw_sheet([[Tile(plain(9), (name,))]], tmp_path / "a.png", f"{name}: 1 blob")
    draw_sheet([[Tile(plain(9), (shown(name),))]], tmp_path / "b.png", f"{shown(name)}: 1 blob")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_long_title_is_broken_into_lines(tmp_path) -> None:
    for name, title in (("one.png", "few words"), ("many.png", "many words " * 20)):
        draw_sheet([[Tile(plain(9))]], tmp_path / name, title)
    one, many = drawn(tmp_path / "one.png"), drawn(tmp_path / "many.png")
    assert many.shape[1] == one.shape[1]
    assert many.shape[0] > one.shape[0]
    assert (many[:, -12:] == 255).all()


def test_nothing_to_draw(tmp_path) -> None:
    with pytest.raises(DataError, match="without a tile"):
        draw_sheet([], tmp_path / "a.png")


def test_thumbnails_keep_proportions() -> None:
    assert thumbnail(plain(0, 200, 100), 50).shape == (50, 25, 3)
    assert thumbnail(plain(0, 10, 20), 50).shape == (25, 50, 3)
    assert thumbnail(plain(0, 1, 1000), 50).shape == (1, 50, 3)


def test_outlines_go_round_what_they_show_even_specks() -> None:
    mask = np.zeros((400, 600), bool)
    mask[100:200, 150:300] = True
    mask[300:303, 500:503] = True
    small = outlined(plain(90, 40, 60), mask, ORANGE)
    changed = (small != 90).any(axis=2)
    assert changed[10, 20]
    assert changed[30, 50]
    assert not changed[15, 22]
    assert not changed[2, 2]
    assert not (outlined(plain(90), np.zeros((40, 60), bool)) != 90).any()
