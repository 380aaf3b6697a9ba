"""Charts say and show what their numbers are."""

from __future__ import annotations

import numpy as np

from featstore.report.charts import confusion
from featstore.report.palette import BLUE, GREY, VERMILION
from featstore.report.words import crowded


def test_small_classes_that_are_drawn_as_one_are_not_counted_as_right() -> None:
    """Ten images of one small class are taken for another: they lie on the diagonal of the picture, and are wrong."""
    matrix = np.diag([50] * 19 + [0] * 5)
    matrix[20, 21] = 10
    drawn = confusion(matrix, [f"class {n}" for n in range(24)])
    assert "950 of 960 images are predicted rightly" in drawn
    assert "the 5 others" in drawn
    assert drawn.count(BLUE) == 19
    assert drawn.count(GREY) == 1
    assert VERMILION not in drawn


def test_of_few_classes_each_is_drawn() -> None:
    drawn = confusion(np.array([[3, 1], [0, 2]]), ["a", "b"])
    assert "5 of 6 images are predicted rightly" in drawn
    assert (drawn.count(BLUE), drawn.count(VERMILION), drawn.count(GREY)) == (2, 1, 0)
    assert "others" not in drawn


def test_heads_are_broken_within_words_only_where_they_are_crowded() -> None:
    assert not crowded(["HER2(+)", "Luminal A", "Luminal B", "Triple negative"])
    assert crowded(["x" * 62])
    assert crowded(["sixteen letters."] * 12)
    assert not crowded([])
