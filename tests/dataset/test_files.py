from __future__ import annotations

import hashlib
import os

import pytest

from featstore.dataset import Reason, bytes_digest, file_digest, read_bytes
from featstore.dataset.files import MAX_FILE_BYTES, is_image_name, list_folder
from featstore.errors import DataError, ImageError


def test_bytes_are_read_once_and_identify_the_file(tmp_path):
    path = tmp_path / "größe é 中.png"
    path.write_bytes(b"abc" * 1_000_000)
    data = read_bytes(path)
    assert bytes_digest(data) == file_digest(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    link = tmp_path / "link.png"
    link.symlink_to(path)
    assert file_digest(link) == file_digest(path)


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "broken link", "pipe"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "broken link":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    for reason in (Reason.UNREADABLE, Reason.MASK_UNREADABLE):
        with pytest.raises(ImageError, match=r"x\.png") as caught:
            read_bytes(path, reason=reason)
        assert caught.value.reason == reason
    if kind != "empty":
        with pytest.raises(ImageError, match=r"x\.png"):
            file_digest(path)


def test_no_permission_is_an_error_that_says_so(unprivileged):
    path = unprivileged / "x.png"
    path.write_bytes(b"x")
    path.chmod(0)
    for read in (read_bytes, file_digest):
        with pytest.raises(ImageError, match=r"x\.png can't be read \(Permission denied\)") as caught:
            read(path)
        assert caught.value.reason == "unreadable"
    (unprivileged / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match="closed can't be listed"):
        list_folder(unprivileged / "closed")
    with pytest.raises(ImageError, match="Permission denied"):
        read_bytes(unprivileged / "closed" / "x.png")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "x.tif"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ImageError, match=r"2\.1 GB") as caught:
        read_bytes(path)
    assert caught.value.reason == "too_large"


def test_folders_are_listed_by_name_without_what_is_hidden(tmp_path):
    for name in ("b.png", "a.png", ".hidden.png", "._a.png", "B.png"):
        (tmp_path / name).touch()
    (tmp_path / "__MACOSX").mkdir()
    assert [path.name for path in list_folder(tmp_path)] == ["B.png", "a.png", "b.png"]


@pytest.mark.parametrize(("name", "yes"), [("a.png", 1), ("A.TIFF", 1), ("a.jpeg", 1), ("a.csv", 0), ("png", 0)])
def test_images_are_known_by_their_ending(name, yes):
    assert is_image_name(name) == bool(yes)
