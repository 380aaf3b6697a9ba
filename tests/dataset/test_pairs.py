from __future__ import annotations

import os
from pathlib import Path

import pytest

from featstore.dataset.pairs import pair_files


def pairs(folder: Path):
    found, warnings = pair_files(sorted(folder.iterdir()))
    return {pair.path.name: pair for pair in found}, warnings


def test_images_find_their_masks_by_number_whatever_the_ending_or_prefix(tree):
    found, warnings = pairs(
        tree("img_1.png", "mask_1.png", "img_2.png", "mask_2.tif", "3.png", "mask_3.png", "img_4.png")
    )
    masks = {name: pair.mask and pair.mask.name for name, pair in found.items()}
    assert masks == {"3.png": "mask_3.png", "img_1.png": "mask_1.png", "img_2.png": "mask_2.tif", "img_4.png": None}
    assert warnings == []


def test_masks_without_an_image_are_named(tree):
    found, warnings = pairs(tree("img_1.png", "mask_2.png"))
    assert list(found) == ["img_1.png"]
    assert len(warnings) == 1
    assert "1 mask without an image" in warnings[0]
    assert "mask_2.png" in warnings[0]


def test_the_second_of_two_names_that_differ_by_case_is_a_row_with_a_reason(tree):
    folder = tree("IMG_1.png", "img_1.png", "mask_1.png", "MASK_1.png")
    if len(list(folder.iterdir())) < 4:
        pytest.skip("this file system does not tell case apart")
    found, _ = pairs(folder)
    assert found["IMG_1.png"].reason == ""
    assert found["img_1.png"].reason == "duplicate_name"
    assert "IMG_1.png" in found["img_1.png"].note
    assert found["img_1.png"].mask.name == "mask_1.png"
    assert "of 2 masks" in found["IMG_1.png"].note


def test_folders_broken_links_and_unprintable_names_are_rows_with_a_reason(tree):
    folder = tree("img_1.png")
    (folder / "dir.png").mkdir()
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "link.png").symlink_to("img_1.png")
    names = {"dir.png": "unreadable", "gone.png": "unreadable", "link.png": "", "img_1.png": ""}
    try:
        odd = folder / os.fsdecode(b"\xff.png")
        odd.write_bytes(b"x")
        names[odd.name] = "unreadable"
    except OSError:
        pass
    found, _ = pairs(folder)
    assert {name: pair.reason for name, pair in found.items()} == names
    assert found["dir.png"].note == "it is a folder"
    assert found["gone.png"].note == "it is a link to nothing"
