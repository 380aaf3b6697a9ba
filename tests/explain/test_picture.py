"""Images and their masks, found as an extraction finds them."""

from __future__ import annotations

import shutil

import pytest

from featstore.errors import ImageError
from featstore.explain import open_picture
from featstore.explain.picture import mask_beside


def test_the_mask_is_the_one_beside(made) -> None:
    folder = made / "test_data"
    assert mask_beside(folder / "img_0100.png") == folder / "mask_0100.png"
    opened = open_picture(folder / "img_0100.png")
    assert opened.mask.shape == opened.pixels.shape[:2]
    assert len(opened.sha256) == 64


def test_without_a_mask_there_is_none(made, tmp_path) -> None:
    shutil.copy(made / "test_data" / "img_0100.png", tmp_path / "field.png")
    assert open_picture(tmp_path / "field.png").mask is None
    other = open_picture(tmp_path / "field.png", made / "test_data" / "mask_0101.png")
    assert other.mask is not None


def test_what_can_not_be_read_is_named(made, tmp_path) -> None:
    (tmp_path / "img_1.png").write_bytes(b"no image")
    for path in (tmp_path / "img_1.png", tmp_path / "nowhere.png"):
        with pytest.raises(ImageError, match=path.name):
            open_picture(path)
    with pytest.raises(ImageError, match="mask by its name"):
        open_picture(made / "test_data" / "mask_0100.png")
