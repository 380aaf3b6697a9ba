from __future__ import annotations

import pytest

from featstore.dataset import find_dataset
from featstore.errors import DataError, LabelError

FULL = """image,mask,label,split,group,mpp,remark
img/1.png,img/mask_1.png,A,,p1,0.5,x
img/2.png,,,,p1,"0,25",y
./img/3.png,,B,test,,,z
"""


@pytest.fixture
def listed(tree):
    def write(text: str):
        root = tree("img/1.png", "img/mask_1.png", "img/2.png", "img/3.png")
        (root / "list.csv").write_text(text, encoding="utf-8")
        return root / "list.csv"

    return write


def rows(dataset, *fields):
    return [tuple(getattr(record, field) for field in fields) for record in dataset.records]


def test_a_list_with_everything(listed):
    dataset = find_dataset(listed(FULL))
    assert dataset.layout == "csv"
    assert rows(dataset, "image", "sample_index", "position", "label", "split", "group", "mpp", "reason") == [
        ("img/1.png", "img/1.png", 0, "A", "train", "p1", 0.5, ""),
        ("img/2.png", "img/2.png", 1, "", "test", "p1", 0.25, ""),
        ("img/3.png", "./img/3.png", 2, "B", "test", "", None, ""),
    ]
    assert dataset.records[0].mask_path.name == "mask_1.png"
    assert dataset.records[1].mask_path is None
    assert dataset.records[1].note == "it has no mask"
    assert dataset.classes == ("A", "B")


def test_images_alone_are_for_prediction(listed):
    dataset = find_dataset(listed("image\nimg/2.png\nimg/1.png\n"))
    assert rows(dataset, "image", "split", "label") == [("img/2.png", "test", ""), ("img/1.png", "test", "")]
    assert dataset.warnings == ()


def test_absolute_and_windows_paths(listed):
    path = listed("")
    path.write_text(f"image,label\n{path.parent / 'img' / '1.png'},A\nimg\\2.png,B\n", encoding="utf-8")
    assert rows(find_dataset(path), "image", "reason") == [("img/1.png", ""), ("img/2.png", "")]


def test_rows_that_can_not_be_used_say_why(listed):
    text = "image,label,split\nimg/1.png,A,\nimg/9.png,A,\nimg,A,\nimg/2.png,,train\nimg/1.png,A,\n"
    dataset = find_dataset(listed(text))
    assert rows(dataset, "image", "reason") == [
        ("img/1.png", ""),
        ("img/9.png", "missing"),
        ("img", "unreadable"),
        ("img/2.png", "no_label"),
        ("img/1.png (line 6)", "duplicate_name"),
    ]
    assert "line 2 of list.csv" in dataset.records[4].note
    for words in ("1 image not there: img/9.png", "1 training image without a label", "1 row repeat"):
        assert any(words in warning for warning in dataset.warnings)


def test_one_image_with_two_labels(listed):
    dataset = find_dataset(listed("image,label\nimg/1.png,A\nimg/1.png,B\nimg/2.png,a\n"))
    assert rows(dataset, "label", "reason") == [("", "label_conflict"), ("B", "duplicate_name"), ("A", "")]


def test_a_mask_that_is_not_there_is_noted(listed):
    dataset = find_dataset(listed("image,mask\nimg/1.png,img/mask_1.png\nimg/2.png,img/mask_9.png\n"))
    assert rows(dataset, "mask_path", "note")[1] == (None, "its mask img/mask_9.png is not there")
    assert any("1 of 2 images without a mask" in warning for warning in dataset.warnings)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("image\n", DataError, "lists no image"),
        ("path,label\nimg/1.png,A\n", DataError, "no column 'image' .its columns: path, label"),
        ("sample_index,label\n1.png,A\n", DataError, "it is a label file.*train_data"),
        ("image,label\n,A\n", DataError, "no image on line 2"),
        ("image,mpp\nimg/1.png,0\n", DataError, "mpp is '0' on line 2"),
        ("image,mpp\nimg/1.png,nan\n", DataError, "mpp is 'nan'"),
        ("image,split\nimg/1.png,val\n", LabelError, "the split is 'val' on line 2"),
        ("image\n1.png\n2.png\n", DataError, "none of the images in .* is there: 1.png, 2.png.*relative to"),
    ],
)
def test_lists_that_can_not_be_used(listed, text, error, words):
    with pytest.raises(error, match=words):
        find_dataset(listed(text))
