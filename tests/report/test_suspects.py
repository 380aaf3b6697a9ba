"""Contact sheets of a check: all of a group is shown, and what earlier runs drew goes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from featstore.check import Findings, check_dataset
from featstore.dataset import find_dataset
from featstore.report.sheets import Tile, draw_sheet
from featstore.report.suspects import COLUMNS, SIDE_PX, draw_findings, sheet_names

COPIES = 2 * COLUMNS + 1
COLOUR = (110, 80, 160)


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Findings:
    """Many copies of one file, of which one has gone since they were checked."""
    folder = tmp_path_factory.mktemp("copies")
    for number in range(COPIES + 1):
        cv2.imwrite(str(folder / f"{number:02d}.png"), np.full((30, 30, 3), COLOUR[::-1], np.uint8))
    found = check_dataset(find_dataset(folder), jobs=1)
    (folder / f"{COPIES:02d}.png").unlink()
    return found


def test_all_of_a_large_group_is_drawn_row_below_row(copies, tmp_path) -> None:
    assert "twins_by_file.png" in [path.name for path in draw_findings(copies, tmp_path)]
    picture = cv2.imread(str(tmp_path / "twins_by_file.png"))[..., ::-1]
    drawn = (picture == COLOUR).all(axis=2).sum()
    assert drawn == COPIES * SIDE_PX**2
    assert picture.shape[1] < (COLUMNS + 1) * SIDE_PX


def test_sheets_of_an_earlier_check_go_and_nothing_else_does(copies, tmp_path) -> None:
    stale = ["blur.png", "mask_inverted.png", "twins_by_look-3.png", "whole_image.png", "ink_red-2.png"]
    kept = [
        "overview.png",
        "train_data-img_0001.png",
        "blur.jpg",
        "blurred.png",
        "mask_0001.png",
        "whole_slide.png",
        "mask_a.png",
    ]
    assert not set(stale) & set(sheet_names(copies))
    for name in (*stale, *kept):
        draw_sheet([[Tile(np.zeros((9, 9, 3), np.uint8))]], tmp_path / name)
    (tmp_path / "texture.png").write_bytes(b"mine")
    (tmp_path / "dark.png").mkdir()
    drawn = draw_findings(copies, tmp_path)
    there = {path.name for path in Path(tmp_path).iterdir()}
    assert there == {*kept, "texture.png", "dark.png", *(path.name for path in drawn)}
    assert (tmp_path / "texture.png").read_bytes() == b"mine"
