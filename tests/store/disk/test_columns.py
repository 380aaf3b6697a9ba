"""The image table in columns, and tables that add up: held against plain dicts and lists."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.errors import StoreFormatError
from featstore.store.disk.columns import CODED, ImageTable, decoded, encoded
from featstore.store.disk.segments import SegmentEntry
from featstore.store.disk.tables import SegmentList, Table, TableEntry, add_up, read_table, settle, write_table
from featstore.store.images import SPLITS, ImageRow

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
names = texts.filter(bool)
few = st.sampled_from(["", "A", "é", "train"])
numbers = st.integers(0, 2**63 - 1) | st.integers(0, 3)


def rows(names=names) -> st.SearchStrategy[ImageRow]:
    said = dict.fromkeys((*CODED, "sample_index", "sha256", "mask_sha256"), few)
    return st.builds(
        ImageRow, image=names, **{**said, "split": st.sampled_from(SPLITS)}, position=numbers, blobs=numbers
    )


def tables(names=names, size: int = 8) -> st.SearchStrategy[list[ImageRow]]:
    return st.lists(rows(names), max_size=size, unique_by=lambda row: row.image)


def plain(table: ImageTable) -> dict[str, ImageRow]:
    """What a table says, in its order; also that it says so consistently."""
    assert len(table) == len(list(table))
    return {name: table[name] for name in table}


@given(st.lists(texts, max_size=20))
def test_text_is_read_back(values):
    column = encoded(values)
    assert (column.dtype.kind, column.shape) == ("S", (len(values),))
    assert decoded(column) == values


@given(tables())
def test_rows_are_read_back_in_their_order(given_rows):
    table = ImageTable.from_rows(given_rows)
    again = ImageTable.from_datasets(table.to_datasets(), "here")
    assert plain(table) == plain(again) == {row.image: row for row in given_rows}
    assert list(again) == [row.image for row in given_rows]
    assert all(values.dtype.kind in "iS" for values in table.to_datasets().values())


@given(st.lists(tables(st.sampled_from("abcdefgh")), min_size=1, max_size=6))
def test_the_last_row_counts_at_the_place_of_the_first(parts):
    expected: dict[str, ImageRow] = {}
    for part in parts:
        expected |= {row.image: row for row in part}
    merged = ImageTable.merged([ImageTable.from_rows(part) for part in parts])
    assert plain(merged) == expected
    assert list(merged) == list(expected)
    assert plain(ImageTable.from_datasets(merged.to_datasets(), "here")) == expected


@given(tables())
def test_columns_say_what_rows_say(given_rows):
    table = ImageTable.from_rows(given_rows)
    assert table.left_out.tolist() == [bool(row.left_out) for row in given_rows]
    some = np.arange(0, len(given_rows), 2)
    for name in CODED:
        expected = Counter(getattr(row, name) for row in given_rows[::2])
        assert table.counts(name, some) == {value: n for value, n in sorted(expected.items()) if value}


def test_a_table_is_a_mapping_of_names():
    table = ImageTable.from_rows([ImageRow("a"), ImageRow("b")])
    assert "a" in table
    for stranger in ("c", "", "a\0", "\ud800", None, 3):
        assert stranger not in table
        assert table.get(stranger) is None
    with pytest.raises(KeyError, match="'nobody'"):
        table["nobody"]
    assert dict(table) == {"a": ImageRow("a"), "b": ImageRow("b")}


def test_columns_of_later_writers_are_ignored_and_absent_ones_take_their_default():
    kept = {"images/image": encoded(["a", "b"]), "images/colour": encoded(["red", "blue"])}
    assert plain(ImageTable.from_datasets(kept, "here")) == {"a": ImageRow("a"), "b": ImageRow("b")}
    assert plain(ImageTable.from_datasets({"images/image": encoded([])}, "here")) == {}


BAD = {
    "no images at all": ("images/image", None),
    "an image twice": ("images/image", encoded(["a", "a"])),
    "no name": ("images/image", encoded(["a", ""])),
    "no UTF-8": ("images/image", np.array([b"a", b"\xff"])),
    "a zero inside": ("images/image", np.array([b"a", b"b\0c"], dtype="S3")),
    "too few": ("images/sha256", encoded(["one"])),
    "numbers for text": ("images/sha256", np.zeros(2, dtype="<i8")),
    "a wide column of digests": ("images/sha256", np.zeros(2, dtype="S1025")),
    "a table for a column": ("images/sha256", np.zeros((2, 1), dtype="S1")),
    "text for numbers": ("images/position", encoded(["1", "2"])),
    "short numbers": ("images/position", np.zeros(2, dtype="<i4")),
    "numbers below 0": ("images/blobs", np.array([1, -1], dtype="<i8")),
    "codes without a value": ("images/label/codes", np.array([0, 9], dtype="<i4")),
    "codes below 0": ("images/label/codes", np.array([0, -1], dtype="<i4")),
    "values missing": ("images/label/categories", None),
    "a value twice": ("images/label/categories", encoded(["", ""])),
    "no known split": ("images/split/categories", encoded(["validation"])),
}


@pytest.mark.parametrize(("name", "values"), BAD.values(), ids=BAD)
def test_columns_that_do_not_fit_are_refused(name, values):
    datasets = ImageTable.from_rows([ImageRow("a"), ImageRow("b")]).to_datasets()
    ImageTable.from_datasets(datasets, "here.h5")
    del datasets[name]
    if values is not None:
        datasets[name] = values
    with pytest.raises(StoreFormatError, match=r"here\.h5: its image table can't be read"):
        ImageTable.from_datasets(datasets, "here.h5")


def entry(number: int) -> SegmentEntry:
    return SegmentEntry(f"{number:064x}", 1000 + number, 1 + number)


def table_of(segments, images=()) -> Table:
    return Table(SegmentList.of(list(map(entry, segments))), ImageTable.from_rows(list(images)))


commits = st.lists(
    st.tuples(st.lists(st.integers(0, 30), max_size=3), tables(st.sampled_from("abcdefgh"), 4)), max_size=15
)


@settings(max_examples=20, deadline=None)
@given(commits)
def test_any_commits_add_up_to_the_same_table(tmp_path_factory, done):
    """Segments in the order of their first commit, the last row of each image, and a logarithm of tables."""
    store = tmp_path_factory.mktemp("store")
    (store / "tables").mkdir()
    listed: tuple[TableEntry, ...] = ()
    segments: dict[SegmentEntry, None] = {}
    images: dict[str, ImageRow] = {}
    for new_segments, new_images in done:
        listed = settle(store, "f", listed, table_of(dict.fromkeys(new_segments), new_images))
        segments |= dict.fromkeys(map(entry, new_segments))
        images |= {row.image: row for row in new_images}
    read = [read_table(store, one, "f") for one in listed]
    if not read:
        assert not segments
        assert not images
        return
    total = add_up(read)
    assert total.segments.entries() == tuple(segments)
    assert plain(total.images) == images
    assert list(total.images) == list(images)
    sizes = [one.size for one in listed]
    assert all(earlier > 2 * later for earlier, later in pairwise(sizes))
    assert [one.size for one in read] == sizes


def test_many_commits_keep_few_tables_and_write_each_row_a_few_times(tmp_path):
    (tmp_path / "tables").mkdir()
    listed: tuple[TableEntry, ...] = ()
    count = 60
    written = 0
    for number in range(count):
        listed = settle(tmp_path, "f", listed, table_of([number]))
        assert len(listed) <= 1 + math.log2(number + 1)
        written += listed[-1].size
    assert written <= count * (1 + math.log2(count))
    total = add_up([read_table(tmp_path, one, "f") for one in listed])
    assert total.segments.entries() == tuple(map(entry, range(count)))
    assert settle(tmp_path, "f", listed, table_of([])) == listed


def test_a_table_is_held_against_what_the_version_says(tmp_path):
    (tmp_path / "tables").mkdir()
    listed = write_table(tmp_path, table_of([1, 2], [ImageRow("a")]), "f")
    assert read_table(tmp_path, listed, "f").segments.entries() == (entry(1), entry(2))
    with pytest.raises(StoreFormatError, match="2 segments, 1 images; expected 3 and 1"):
        read_table(tmp_path, replace(listed, segments=3), "f")
    with pytest.raises(StoreFormatError, match=rf"{listed.file}: a table of another store"):
        read_table(tmp_path, listed, "g")
    (tmp_path / "tables" / listed.file).unlink()
    with pytest.raises(StoreFormatError, match=rf"{listed.file}: missing"):
        read_table(tmp_path, listed, "f")


@pytest.mark.parametrize(
    "change", [{"sha256": "../../elsewhere"}, {"sha256": "A" * 64}, {"bytes": 0}, {"rows": 0}, {"rows": -1}]
)
def test_segments_that_cannot_be_are_refused(tmp_path, change):
    """A name is a digest and nothing else, so that it can't lead out of the store."""
    (tmp_path / "tables").mkdir()
    listed = write_table(tmp_path, Table(SegmentList.of([replace(entry(1), **change)]), ImageTable.from_rows([])), "f")
    with pytest.raises(StoreFormatError, match=rf"{listed.file}: .*segment"):
        read_table(tmp_path, listed, "f")


def test_the_columns_are_the_fields_of_a_row():
    row = ImageRow("a", mask="good", look="0" * 512, mpp="0.5")
    table = ImageTable.from_rows([row])
    assert table["a"] == row
    datasets = table.to_datasets()
    assert {name.split("/")[1] for name in datasets} == {field.name for field in fields(ImageRow)}
