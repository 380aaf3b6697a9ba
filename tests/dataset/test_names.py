from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from featstore.dataset.names import NameIndex, image_key, printable

NAMES = ["img_0000.png", "img_0001.png", "IMG_0001.png", "b.png", "b.jpg", "größe.png"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("img_0000.png", "img_0000.png"),
        ("IMG_0000.PNG", "img_0000.png"),
        ("img_0000", "img_0000.png"),
        ("train_data/img_0000.png", "img_0000.png"),
        ("train_data\\img_0000.png", "img_0000.png"),
        ("img_0001.png", "img_0001.png"),
        ("IMG_0001.png", "IMG_0001.png"),
        ("Img_0001.png", None),
        ("b", None),
        ("B.JPG", "b.jpg"),
        (unicodedata.normalize("NFD", "größe.png"), "größe.png"),
        ("img_9999.png", None),
        ("", None),
    ],
)
def test_a_name_means_one_file_or_none(asked, found):
    assert NameIndex(NAMES).find(asked) == found


def test_keys_are_relative_posix_paths():
    assert image_key(Path("data/./train_data/../a.png"), Path("data")) == "a.png"
    assert image_key(Path("a.png"), Path("data")) == "../a.png"


def test_names_that_are_not_utf8_can_be_printed():
    assert printable(os.fsdecode(b"img_\xff.png")) == "img_\ufffd.png"
