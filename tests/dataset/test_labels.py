from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.dataset.labels import clean_split, join_spellings, read_label_csv
from featstore.errors import DataError, LabelError

WORDS = st.sampled_from(
    ["Luminal A", "luminal a", "Luminal  A", " Luminal A ", "HER2(+)", "HER2 (+)", "her2(+)", "", " "]
)
LABELS = st.lists(st.one_of(WORDS, st.text(max_size=6)), max_size=20)


def key(label: str) -> str:
    return "".join(unicodedata.normalize("NFC", label.replace("\ufeff", "")).split()).casefold()


@given(LABELS)
def test_labels_are_equal_after_joining_exactly_when_they_differ_by_case_or_spacing(labels):
    joined, _ = join_spellings(labels)
    assert len(joined) == len(labels)
    for before, after in zip(labels, joined, strict=True):
        assert key(before) == key(after)
        assert after == after.strip()
    assert len(set(joined)) == len({key(label) for label in labels})


@given(LABELS)
def test_joining_twice_changes_nothing_and_says_nothing(labels):
    joined, _ = join_spellings(labels)
    assert join_spellings(joined) == (joined, [])


@given(LABELS, st.randoms())
def test_joining_does_not_depend_on_order(labels, random):
    shuffled = labels[:]
    random.shuffle(shuffled)
    assert Counter(join_spellings(shuffled)[0]) == Counter(join_spellings(labels)[0])
    assert join_spellings(shuffled)[1] == join_spellings(labels)[1]


def test_the_most_frequent_spelling_wins_and_ties_go_by_alphabet():
    joined, warnings = join_spellings(["triple negative", "Triple negative", "Triple negative", "b", "B"])
    assert joined == ["Triple negative"] * 3 + ["B", "B"]
    assert any("'triple negative' (1) read as 'Triple negative'" in warning for warning in warnings)
    assert len(warnings) == 2


def test_composed_and_decomposed_letters_are_one_label():
    assert join_spellings(["caf\u00e9", "cafe\u0301"]) == (["caf\u00e9"] * 2, [])


def write(tmp_path, text: str):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_label_file_keeps_its_order_and_all_its_columns(tmp_path):
    table = read_label_csv(write(tmp_path, "sample_index,label,split,group,Site\nb.png,B,Train,p1,x\na.png,A,,p2,y\n"))
    assert [(row.sample_index, row.label, row.split, row.group) for row in table.rows] == [
        ("b.png", "B", "train", "p1"),
        ("a.png", "A", "", "p2"),
    ]
    assert table.rows[1].cells["Site"] == "y"
    assert table.columns == ("sample_index", "label", "split", "group", "Site")
    assert table.classes == ("A", "B")
    assert table.warnings == ()


def test_image_is_another_name_for_sample_index(tmp_path):
    assert read_label_csv(write(tmp_path, "image\tlabel\na.png\tA\n")).rows[0].sample_index == "a.png"


def test_repeated_rows_with_one_label_are_joined_with_a_warning(tmp_path):
    table = read_label_csv(write(tmp_path, "sample_index,label\na.png,\nb.png,B\na.png,A\na.png, a\na.png,A\n"))
    assert [(row.sample_index, row.label, row.conflict) for row in table.rows] == [
        ("a.png", "A", ""),
        ("b.png", "B", ""),
    ]
    assert any("1 image more than once, with one label: a.png" in warning for warning in table.warnings)


def test_contradicting_rows_leave_no_label_and_name_both_lines(tmp_path):
    table = read_label_csv(write(tmp_path, "sample_index,label\na.png,A\na.png,B\nb.png,B\n"))
    assert [row.label for row in table.rows] == ["", "B"]
    assert table.rows[0].conflict == "labels.csv says 'A' (line 2) and 'B' (line 3)"
    assert table.warnings == ("labels.csv gives 1 image more than one label: a.png; not used in training",)
    assert read_label_csv(table.path, contradicted="what now").warnings[0].endswith("a.png; what now")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("sample_index,label\n,A\n", LabelError, "line 2 of .* has no sample_index"),
        ("sample_index,label,split\na,A,validation\n", LabelError, "'validation' on line 2 .*train or test"),
        ("sample_index,class\na,A\n", DataError, "no column 'label'"),
        ("file,label\na,A\n", DataError, "'sample_index' or 'image'"),
    ],
)
def test_what_can_not_be_used_is_named(tmp_path, text, error, words):
    with pytest.raises(error, match=words):
        read_label_csv(write(tmp_path, text))


@pytest.mark.parametrize(
    ("word", "split"), [("", ""), (" TRAIN ", "train"), ("testing", "test"), ("Training", "train")]
)
def test_splits_are_read_in_any_case(word, split):
    assert clean_split(word, "here") == split


def test_labels_need_no_opencv():
    code = "import sys, featstore.dataset.labels, featstore.dataset; print('cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
