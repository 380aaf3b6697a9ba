"""Pictures of images: each has its own name, and says what an extraction makes of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from featstore.dataset import find_dataset
from featstore.recipe import CropSettings
from featstore.report import previews
from featstore.report.previews import OVERVIEW, PreviewSettings, draw_preview, picture_names


def test_pictures_are_called_as_their_images_where_nothing_collides() -> None:
    names = ["train_data/img_0000.png", "b.tar.tif", "no ending", "v1.2/no ending", "../up.png"]
    assert list(picture_names(names).values()) == [
        "train_data-img_0000.png",
        "b.tar.png",
        "no ending.png",
        "v1.2-no ending.png",
        "..-up.png",
    ]


def test_names_that_collide_are_numbered() -> None:
    names = ["x.png", "x.jpg", "x-2.png", "a/b.png", "a-b.png", "A-B.tif", "overview.png", "Overview.jpg", ".png", "x"]
    assert picture_names(names) == {
        "x.png": "x.png",
        "x.jpg": "x-3.png",  # x-2 is another's
        "x-2.png": "x-2.png",
        "a/b.png": "a-b.png",
        "a-b.png": "a-b-2.png",
        "A-B.tif": "A-B-3.png",
        "overview.png": "overview-2.png",
        "Overview.jpg": "Overview-3.png",
        ".png": ".png.png",
        "x": "x-4.png",
    }
    assert OVERVIEW not in picture_names(names).values()


def test_names_are_as_short_as_a_file_system_wants_them() -> None:
    names = picture_names([f"{'ü' * 300}/{'deep/' * 100}{number}.png" for number in range(20)])
    assert len(set(names.values())) == 20
    assert all(len(name.encode()) <= 255 for name in names.values())


@pytest.fixture
def titles(monkeypatch) -> list[str]:
    told = []
    monkeypatch.setattr(previews, "draw_sheet", lambda rows, path, title: told.append((title, rows[0][0].lines)))
    return told


@pytest.mark.parametrize(("split", "artefacts"), [("train", "exclude"), ("train", "keep"), ("test", "exclude")])
def test_the_title_says_where_an_extraction_leaves_the_image_out(tmp_path, titles, split: str, artefacts: str) -> None:
    rng = np.random.default_rng(0)
    image = np.clip(np.array((40, 200, 60)) + rng.normal(0, 12, (80, 90, 3)), 0, 255).astype(np.uint8)
    mask = np.zeros((80, 90), np.uint8)
    mask[20:60, 20:60] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    (tmp_path / "all.csv").write_text(f"image,mask,label,split\na.png,m.png,A,{split}\n")
    (record,) = find_dataset(tmp_path / "all.csv").records
    tile = draw_preview(record, tmp_path / "p.png", PreviewSettings(CropSettings(artefacts=artefacts, masks="given")))
    ((title, notes),) = titles
    out = "left out by an extraction: contaminated_green"
    is_out = (split, artefacts) == ("train", "exclude")
    assert (out in title) == (out in " ".join(tile.lines)) == is_out
    assert any("of the tissue is green" in note for note in notes) == is_out
