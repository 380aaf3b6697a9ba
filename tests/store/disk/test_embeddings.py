"""Rows read from files, and keys put in order: held against plain arrays and dicts."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.errors import SettingError, StoreFormatError
from featstore.store import create_store, open_store
from featstore.store.disk import embeddings as embeddings_module
from featstore.store.disk.columns import ImageTable, encoded
from featstore.store.disk.container import read_container
from featstore.store.disk.segments import Segment
from featstore.store.disk.stream import block_rows
from featstore.store.disk.writing import EmbeddingRows, write_container
from featstore.store.images import ImageRow
from featstore.store.index import KeyIndex, blob_table, read_rows

KINDS = st.sampled_from(["float32", "float16"])


def embeddings_of(folder, array: np.ndarray):
    """Write an array into a file of its own and locate it."""
    step = 2 * block_rows(array.shape[1], array.dtype)
    chunks = (array[at : at + step] for at in range(0, len(array), step))
    entry = write_container(folder, "segment", {}, {}, EmbeddingRows(array.shape[1], array.dtype, chunks))
    return read_container(folder / entry.file, "segment", entry).embeddings


def numbers(rows: int, dim: int, kind: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(kind)


@settings(max_examples=40, deadline=None)
@given(
    dim=st.integers(1, 3000) | st.sampled_from([1, 3, 1023, 1024, 1025, 2048]),
    stored=KINDS,
    wanted=KINDS,
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    batch=st.sampled_from([1, 9000, 2**22]),
    data=st.data(),
)
def test_any_rows_of_any_files(tmp_path_factory, dim, stored, wanted, lengths, batch, data):
    """In any order, once or often, in a row or not: what a plain array would give."""
    folder = tmp_path_factory.mktemp("any")
    arrays = [numbers(length, dim, stored, seed) for seed, length in enumerate(lengths)]
    files = [embeddings_of(folder, array) for array in arrays]
    every = np.array([(file, row) for file, length in enumerate(lengths) for row in range(length)])
    some = data.draw(st.lists(st.integers(0, len(every) - 1), max_size=60) | st.just(range(len(every))))
    asked = every[np.array(some, dtype=np.intp)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(embeddings_module, "BATCH_BYTES", batch)
        found = read_rows(files, asked[:, 0], asked[:, 1], dim, wanted)
    expected = np.concatenate(arrays)[np.array(some, dtype=np.intp)].astype(wanted)
    assert found.dtype == np.dtype(wanted)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dim", [1, 5, 1024, 1500])
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_a_damaged_row_is_named_and_the_others_are_right(tmp_path, helpers, dim, kind):
    """A row is refused with its block, the rows that share its checksum; all others can still be read."""
    array = numbers(3 * max(1, 4096 // (dim * np.dtype(kind).itemsize)), dim, kind)
    source = embeddings_of(tmp_path, array)
    bad = len(array) // 2
    helpers.flip(source.path, source.offset + bad * source.row_bytes + source.row_bytes // 2)
    block = bad // source.block_rows
    assert source.block_rows == block_rows(dim, np.dtype(kind))
    for row in range(len(array)):
        asked = (np.zeros(1, dtype=np.intp), np.array([row]))
        if row // source.block_rows == block:
            first = block * source.block_rows
            with pytest.raises(
                StoreFormatError, match=rf"{source.path.name}: the checksum of embedding {first} does not"
            ):
                read_rows([source], *asked, dim, kind)
        else:
            np.testing.assert_array_equal(read_rows([source], *asked, dim, kind)[0], array[row])
    with pytest.raises(StoreFormatError, match=source.path.name):
        read_rows([source], np.zeros(len(array), dtype=int), np.arange(len(array)), dim, kind)


def _cut(path):
    os.truncate(path, path.stat().st_size // 2)


def _replaced_by_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


AFTER_OPENING = {
    "cut": (_cut, "cut off at"),
    "emptied": (lambda path: os.truncate(path, 0), "cut off at 0 bytes"),
    "gone": (os.unlink, "missing"),
    "a pipe": (_replaced_by_a_pipe, "not a file"),
}


@pytest.mark.parametrize(("change", "said"), AFTER_OPENING.values(), ids=AFTER_OPENING)
@pytest.mark.parametrize("rows", [range(400), [399, 3, 200]], ids=["in a row", "one by one"])
def test_a_file_that_changes_after_it_was_opened(tmp_path, change, said, rows):
    source = embeddings_of(tmp_path, numbers(400, 64))
    change(source.path)
    with pytest.raises(StoreFormatError, match=rf"{source.path.name}: {said}"):
        read_rows([source], np.zeros(len(rows), dtype=int), np.array(rows), 64, "float32")


names = st.sampled_from(["a", "aa", "b", "é", "Z", "\U0001f52c", "\uffff", "img_10.png", "img_9.png"])
contents = st.sampled_from(["", "one", "two"])
keys = st.tuples(names, contents, st.integers(0, 3) | st.just(2**31 - 1), st.integers(0, 2) | st.just(2**31 - 1))
boxes = st.tuples(names, contents, st.integers(0, 2), st.integers(1, 99))
table = st.dictionaries(names, st.tuples(contents, st.sampled_from(["", "unreadable"])))


def segment_of(rows, boxed) -> Segment:
    images = sorted({row[:2] for row in [*rows, *boxed]})
    number = {image: place for place, image in enumerate(images)}
    columns = {name: encoded([image[place] for image in images]) for place, name in ((0, "image"), (1, "sha256"))}
    image = np.array([number[row[:2]] for row in rows], dtype=np.int32)
    blob, repeat = (np.array([row[place] for row in rows], dtype=np.int32) for place in (2, 3))
    blobs = [[number[box[:2]], *box[2:], 0, 0, 1, 1, 1, box[2]] for box in boxed]
    blobs = np.array(blobs, dtype=np.int32).reshape(-1, 9)
    return Segment(image, blob, repeat, {**columns, "mask_sha256": encoded([""] * len(images))}, blobs, None)


@settings(max_examples=150, deadline=None)
@given(
    segments=st.lists(
        st.tuples(
            st.lists(keys, max_size=12, unique=True),
            st.lists(boxes, max_size=4, unique_by=lambda box: box[:3]),
        ),
        max_size=5,
    ),
    images=table,
    everything=st.booleans(),
)
def test_keys_are_in_order_and_the_first_of_each_counts(segments, images, everything):
    rows = [ImageRow(name, sha256=sha256, reason=reason) for name, (sha256, reason) in images.items()]

    def counts(row) -> bool:
        return row[0] in images and images[row[0]][0] == row[1] and (everything or not images[row[0]][1])

    expected, doubles, boxed = {}, 0, {}
    for file, (keyed, drawn) in enumerate(segments):
        for row, key in enumerate(keyed):
            if counts(key):
                doubles += (key[0], *key[2:]) in expected
                expected.setdefault((key[0], *key[2:]), (file, row))
        for box in drawn:
            if counts(box):
                boxed.setdefault((box[0], box[2]), box[3])
    built = [segment_of(*segment) for segment in segments]
    index = KeyIndex.build(built, ImageTable.from_rows(rows), everything=everything)
    found = [(index.names[i], int(b), int(r)) for i, b, r in zip(index.image, index.blob, index.repeat, strict=True)]
    assert found == sorted(expected)
    assert index.names == sorted({name for name, _, _ in expected})
    assert list(zip(index.file.tolist(), index.row.tolist(), strict=True)) == [expected[key] for key in found]
    assert len(index.again) == doubles
    for place, file, row in index.again.tolist():
        key = segments[file][0][row]
        assert found[place] == (key[0], *key[2:])
        assert (file, row) > expected[found[place]]
    for name in images:
        assert index.keys_of(name) == {key[1:] for key in expected if key[0] == name}
    boxed = {key: box for key, box in boxed.items() if key[0] in index.names}
    named, blobs = blob_table(built, ImageTable.from_rows(rows), everything=everything)
    assert [(named[box[0]], box[1], box[2]) for box in blobs.tolist()] == [(*key, boxed[key]) for key in sorted(boxed)]


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A store of several segments, its keys, and its embeddings as a plain array."""
    path = tmp_path_factory.mktemp("grown") / "x.store"
    for part in range(4):
        with create_store(path, {"a": 1}, 5) as writer:
            for image in range(6):
                count = 3 if part else 4
                given_blobs = list(range(count))
                writer.add(f"{image}", given_blobs, [part] * count, numbers(count, 5, seed=10 * part + image))
    store = open_store(path)
    return store, store.keys, store.embeddings()


subsets = st.none() | st.lists(st.integers(0, 5), max_size=4)


@settings(deadline=None)
@given(repeats=subsets, blobs=subsets, images=st.none() | st.lists(st.sampled_from("012345"), max_size=4))
def test_any_subset(grown, repeats, blobs, images):
    store, there, everything = grown
    wanted = np.ones(len(there), dtype=bool)
    for column, chosen in (("repeat", repeats), ("blob", blobs), ("image", images)):
        if chosen is not None:
            wanted &= np.isin(there[column], np.array(chosen, dtype=there[column].dtype))
    np.testing.assert_array_equal(store.embeddings(repeats=repeats, blobs=blobs, images=images), everything[wanted])


@settings(deadline=None)
@given(st.lists(st.integers(-78, 77), max_size=100), st.sampled_from([np.int8, np.int16, np.int64]))
def test_any_positions(grown, positions, kind):
    store, _, everything = grown
    asked = np.array(positions, dtype=kind)
    np.testing.assert_array_equal(store.take(asked), everything[asked.astype(np.intp)])


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_positions_of_any_whole_type(make_store, kind):
    store = make_store(80)
    np.testing.assert_array_equal(store.take(np.array([100, 3], dtype=kind)), store.embeddings()[[100, 3]])


def test_a_set_of_repeats_is_as_good_as_a_list(grown):
    store = grown[0]
    np.testing.assert_array_equal(store.embeddings(repeats={0, 2}), store.embeddings(repeats=[0, 2]))
    np.testing.assert_array_equal(store.embeddings(blobs=range(2)), store.embeddings(blobs=[0, 1]))


@pytest.mark.parametrize("indices", [[78], [-79], [0.5], [True], [[0]], 3, ["0"], [2**63]])
def test_positions_that_are_not_there(grown, indices):
    with pytest.raises(SettingError):
        grown[0].take(indices)


def test_another_working_folder(make_store, monkeypatch):
    """A store that was opened by a relative path can be read on when the process goes elsewhere."""
    whole = make_store(2)
    expected = whole.embeddings()
    monkeypatch.chdir(whole.path.parent)
    store = open_store("some.store")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(store.embeddings(), expected)


def test_a_part_of_a_large_store_is_read_in_its_own_memory(tmp_path, measured):
    path, dim, images = tmp_path / "x.store", 1000, 40
    with create_store(path, {"a": 1}, dim) as writer:
        for image in range(images):
            writer.add(f"{image:02d}", range(250), [0] * 250, numbers(250, dim, seed=image))
    store = open_store(path)
    assert len(store) == images * 250
    size = 4 * dim
    _, peak = measured(lambda: store.embeddings(images=["07"]))
    assert peak < 2.5 * 250 * size
    _, peak = measured(lambda: store.take(np.arange(9999, 0, -100)))
    assert peak < 3 * 100 * size + 10**6
    _, peak = measured(store.embeddings)
    assert peak < 1.1 * len(store) * size + 4 * embeddings_module.BATCH_BYTES


def test_the_damaged_row_of_a_group_is_named(tmp_path):
    array = numbers(130, 1024)
    source = embeddings_of(tmp_path, array)
    with source.path.open("r+b") as stream:
        stream.seek(source.offset + 100 * source.row_bytes)
        stream.write(b"damaged")
    with pytest.raises(StoreFormatError, match="checksum of embedding 100 "):
        source.read(np.arange(130), np.empty_like(array), slice(0, 130))


def test_every_sum_is_looked_at_where_that_is_asked_for(tmp_path):
    """The sum of a group is right and that of a block is not: whoever wrote the file made a mistake."""
    array = numbers(130, 1024)
    source = embeddings_of(tmp_path, array)
    source.sums[10] ^= np.uint64(1)
    source.read(np.arange(130), np.empty_like(array), slice(0, 130))
    with pytest.raises(StoreFormatError, match="checksum of embedding 10 "):
        source.read(np.arange(130), np.empty_like(array), slice(0, 130), every_sum=True)
