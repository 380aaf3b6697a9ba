from __future__ import annotations

from collections import Counter

import pytest

from featstore.dataset import find_dataset
from featstore.errors import DataError


def by_name(dataset):
    return {record.image: record for record in dataset.records}


def assert_sound(dataset):
    """Hold whatever the layout."""
    assert [record.position for record in dataset.records] == list(range(len(dataset.records)))
    assert len({record.image for record in dataset.records}) == len(dataset.records)
    assert {record.split for record in dataset.records} <= {"train", "test"}
    assert dataset.classes == tuple(sorted({record.label for record in dataset.records if record.label}))


CHALLENGE = [
    f"{folder}/{kind}_000{i}.png" for folder in ("train_data", "test_data") for kind in ("img", "mask") for i in "01"
]


def test_challenge_layout(tree):
    root = tree(*CHALLENGE, train_labels__csv="sample_index,label\nimg_0001.png,B\nimg_0000.png,A\n")
    dataset = find_dataset(root)
    assert_sound(dataset)
    assert dataset.layout == "challenge"
    assert dataset.root == root
    assert dataset.warnings == ()
    assert [(r.image, r.sample_index, r.split, r.label, r.mask_path.name) for r in dataset.records] == [
        ("train_data/img_0000.png", "img_0000.png", "train", "A", "mask_0000.png"),
        ("train_data/img_0001.png", "img_0001.png", "train", "B", "mask_0001.png"),
        ("test_data/img_0000.png", "img_0000.png", "test", "", "mask_0000.png"),
        ("test_data/img_0001.png", "img_0001.png", "test", "", "mask_0001.png"),
    ]
    assert all(not record.reason and record.path.is_file() for record in dataset.records)


@pytest.mark.parametrize("folder", ["train_data", "test_data"])
def test_challenge_layout_with_one_folder_only(tree, folder):
    root = tree(f"{folder}/img_0000.png", train_labels__csv="sample_index,label\nimg_0000.png,A\n")
    dataset = find_dataset(str(root))
    assert [(r.split, r.label) for r in dataset.records] == [("train", "A") if folder == "train_data" else ("test", "")]


def test_training_images_without_a_label_are_kept_out_of_training_by_name(tree):
    root = tree(*CHALLENGE, train_labels__csv="sample_index,label\nimg_0000.png,A\nimg_0009.png,A\n")
    dataset = find_dataset(root)
    record = by_name(dataset)["train_data/img_0001.png"]
    assert (record.label, record.reason) == ("", "no_label")
    assert any("1 training image without a label" in w and "train_data/img_0001.png" in w for w in dataset.warnings)
    assert any("not in train_data: img_0009.png" in w for w in dataset.warnings)
    assert all(record.reason == "" for record in dataset.records if record.split == "test")


def test_challenge_layout_without_its_label_file(tree):
    dataset = find_dataset(tree(*CHALLENGE))
    assert Counter(record.reason for record in dataset.records) == {"no_label": 2, "": 2}
    assert any("there is no train_labels.csv" in warning for warning in dataset.warnings)


def test_contradicting_and_repeated_labels(tree):
    labels = "\ufeffsample_index;label\r\nimg_0000;A\r\nIMG_0000.png; a \r\nimg_0001.png;A\r\nimg_0001.PNG;B\r\n"
    dataset = find_dataset(tree(*CHALLENGE, train_labels__csv=labels))
    first, second = dataset.records[:2]
    assert (first.label, first.reason) == ("A", "")
    assert (second.label, second.reason) == ("", "label_conflict")
    assert "'A' (line 4)" in second.note
    assert "'B' (line 5)" in second.note
    assert any("differ only by case or spacing" in warning for warning in dataset.warnings)


def test_a_missing_mask_is_noted_where_others_have_one(tree):
    names = [name for name in CHALLENGE if name != "test_data/mask_0001.png"]
    dataset = find_dataset(tree(*names, train_labels__csv="sample_index,label\nimg_0000.png,A\nimg_0001.png,A\n"))
    record = by_name(dataset)["test_data/img_0001.png"]
    assert (record.mask_path, record.reason, record.note) == (None, "", "it has no mask")
    assert any("1 of 4 images without a mask: test_data/img_0001.png" in warning for warning in dataset.warnings)


def test_names_that_differ_by_case_are_never_dropped(tree):
    root = tree("train_data/img_a.png", "train_data/img_A.png", train_labels__csv="sample_index,label\nimg_A.png,A\n")
    if len(list((root / "train_data").iterdir())) < 2:
        pytest.skip("this file system does not tell case apart")
    dataset = find_dataset(root)
    assert_sound(dataset)
    assert [(r.sample_index, r.label, r.reason) for r in dataset.records] == [
        ("img_A.png", "A", ""),
        ("img_a.png", "", "duplicate_name"),
    ]


def test_a_folder_of_the_challenge_taken_for_a_plain_one_is_told(tree):
    root = tree("train_data/img_0000.png", train_labels__csv="sample_index,label\nimg_0000.png,A\n")
    (warning,) = find_dataset(root / "train_data").warnings
    assert "train_labels.csv not read" in warning
    assert "the folder that it is in" in warning


def test_plain_folder_with_subfolders_masks_and_links(tree):
    root = tree("b.png", "sub/img_1.png", "sub/mask_1.png", "sub/deep/a.tif", ".hidden/x.png", "sub/.x.png")
    (root / "sub" / "loop").symlink_to(root)
    (root / "notes.txt").write_text("not an image")
    (root / "link.png").symlink_to("b.png")
    dataset = find_dataset(root)
    assert_sound(dataset)
    assert dataset.layout == "folder"
    assert [record.image for record in dataset.records] == ["b.png", "link.png", "sub/deep/a.tif", "sub/img_1.png"]
    assert all(r.sample_index == r.image and r.split == "test" and r.label == "" for r in dataset.records)
    assert by_name(dataset)["sub/img_1.png"].mask_path.name == "mask_1.png"


def test_one_name_in_two_folders_is_no_twin(tree):
    dataset = find_dataset(tree("a/x.png", "b/x.png"))
    assert [record.reason for record in dataset.records] == ["", ""]


def test_a_folder_named_like_an_image_is_a_row(tree):
    root = tree("a.png", "x.png/inside.png")
    assert [(r.image, r.reason) for r in find_dataset(root).records] == [("a.png", ""), ("x.png", "unreadable")]


def test_a_table_in_a_plain_folder_is_pointed_at(tree):
    root = tree("a.png", list__csv="image,label\na.png,A\n")
    assert any("list.csv" in warning for warning in find_dataset(root).warnings)


@pytest.mark.parametrize(
    ("names", "texts", "words"),
    [
        ([], {}, "no image in"),
        ([], {"list__csv": "image\n"}, "no image in .*Give the table's own path: .*list.csv"),
        (["mask_1.png"], {}, "no image in .*1 mask without an image"),
        (["train_data/mask_1.png"], {}, "no image in .*train_data"),
    ],
)
def test_nothing_to_read_is_an_error_with_a_remedy(tree, names, texts, words):
    with pytest.raises(DataError, match=words):
        find_dataset(tree(*names, **texts))


def test_paths_that_are_no_dataset(tree):
    root = tree("a.png")
    with pytest.raises(DataError, match=r"nowhere is not there; expected a folder with train_data"):
        find_dataset(root / "nowhere")
    with pytest.raises(DataError, match=r"is one image.*Give its folder"):
        find_dataset(root / "a.png")
    (root / "data.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with pytest.raises(DataError, match="not UTF-8 text"):
        find_dataset(root / "data.csv")


def test_a_folder_that_may_not_be_read(unprivileged):
    closed = unprivileged / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(DataError, match="closed"):
        find_dataset(closed)
    with pytest.raises(DataError, match="closed"):
        find_dataset(closed / "data")


def test_the_real_challenge_folder(real):
    dataset = find_dataset(real / "dsb2018")
    assert_sound(dataset)
    assert Counter(record.split for record in dataset.records) == {"train": 72, "test": 31}
    assert dataset.classes == ("dense", "moderate", "packed", "sparse")
    assert dataset.warnings == ()
    assert all(record.mask_path and not record.reason for record in dataset.records)


def test_the_real_plain_folder(real):
    dataset = find_dataset(real / "he1024")
    assert dataset.layout == "folder"
    assert len(dataset.records) >= 11
    assert all(record.mask_path for record in dataset.records)
