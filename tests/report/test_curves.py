from __future__ import annotations

import cv2
import numpy as np
import pytest

from featstore.errors import DataError
from featstore.report import draw_sweep
from featstore.report.charts import swept
from featstore.report.words import shortened


def row(mean: float, **setting: object) -> dict[str, object]:
    seeds = [mean - 0.01, mean + 0.01]
    setting = {"store": "a.store", "preset": "m5", "max_blobs": None, "repeats": 0} | setting
    return {**setting, "macro_f1_mean": mean, "macro_f1_std": 0.014, "macro_f1_by_seed": seeds, "images": 72}


def colours(path) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in cv2.imread(str(path))[..., ::-1].reshape(-1, 3)}


BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def test_a_line_for_each_of_what_else_was_varied(tmp_path) -> None:
    draw_sweep([row(0.5, repeats=r, preset=p) for r in (0, 1, 4) for p in ("m4", "m5")], tmp_path / "two.png")
    assert {BLUE, ORANGE} <= colours(tmp_path / "two.png")
    draw_sweep([row(0.5, repeats=r) for r in (0, 1, 4)], tmp_path / "one.png")
    assert BLUE in colours(tmp_path / "one.png")
    assert ORANGE not in colours(tmp_path / "one.png")


def test_blobs_are_the_axis_where_only_they_were_varied(tmp_path) -> None:
    """Then there is one line and not one for each number of blobs."""
    draw_sweep([row(0.5 + 0.01 * (b or 9), max_blobs=b) for b in (None, 1, 3)], tmp_path / "b.png")
    assert ORANGE not in colours(tmp_path / "b.png")


def test_scales_are_the_axis_where_only_they_were_varied(tmp_path) -> None:
    draw_sweep([row(0.5, scales=each) for each in ("1", "2", "1+2", "1:2")], tmp_path / "s.png")
    assert ORANGE not in colours(tmp_path / "s.png")
    draw_sweep([row(0.5, scales=each, repeats=r) for each in ("1", "1:2") for r in (0, 4)], tmp_path / "r.png")
    assert ORANGE in colours(tmp_path / "r.png")


def test_the_same_rows_are_the_same_bytes(tmp_path) -> None:
    for name in ("a.png", "b.png"):
        draw_sweep([row(0.5), row(0.6, repeats=4)], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert np.prod(cv2.imread(str(tmp_path / "a.png")).shape) > 1e6


def test_no_rows_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="without rows"):
        draw_sweep([], tmp_path / "x.png")


def test_long_names_and_letters_without_a_glyph_leave_room_for_the_curve(tmp_path, recwarn) -> None:
    """Names that end alike are lines of their own all the same."""
    rows = [row(0.5, store=f"{letter}{'x' * 3000}\u1a29.store") for letter in "ab"]
    draw_sweep(rows, tmp_path / "a.png")
    assert {BLUE, ORANGE} <= colours(tmp_path / "a.png")
    assert "<svg" in swept(rows)
    assert len(recwarn) == 0
    assert shortened("x" * 30 + "y", end=True) == "…" + "x" * 22 + "y"
    assert shortened("y" + "x" * 30) == "y" + "x" * 22 + "…"
