from __future__ import annotations

from featstore import crops


def test_everything_exported_is_there() -> None:
    assert sorted(crops.__all__, key=str.lower) == sorted(set(crops.__all__), key=str.lower)
    assert all(hasattr(crops, name) for name in crops.__all__)


def test_the_words_of_the_house() -> None:
    assert {"Blob", "Blobs", "Draws", "augment", "cut_crop", "draw", "find_blobs"} <= set(crops.__all__)
