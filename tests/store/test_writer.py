"""Creating and growing a store."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.errors import DataError, RecipeMismatchError, SettingError, StoreFormatError, StoreWriteError
from featstore.store import create_store, open_store
from featstore.store import writer as writer_module


def test_what_was_added_is_read_back(make_store, helpers):
    store = make_store(6)
    assert store.version == 1
    assert len(store) == 6 * 2 * 2
    for key, embedding in zip(store.keys, store.embeddings(), strict=True):
        expected = helpers.vector(int(key["image"][4:8]), key["blob"], key["repeat"])
        np.testing.assert_array_equal(embedding, expected)


def test_nothing_is_committed_when_the_block_raises(make_store, helpers, tmp_path):
    before = make_store(3)
    with (
        pytest.raises(RuntimeError, match="on purpose"),
        create_store(before.path, helpers.recipe, helpers.dim) as writer,
    ):
        helpers.add_image(writer, 77)
        raise RuntimeError("on purpose")
    after = open_store(before.path)
    assert after.version == before.version
    np.testing.assert_array_equal(after.keys, before.keys)


def test_a_store_that_was_never_committed_is_not_there(tmp_path, helpers):
    with pytest.raises(RuntimeError), create_store(tmp_path / "x.store", helpers.recipe, helpers.dim) as writer:
        helpers.add_image(writer, 0)
        raise RuntimeError
    assert not (tmp_path / "x.store").exists()


def test_repeats_are_appended_and_old_versions_stay(make_store, helpers):
    store = make_store(4)
    with create_store(store.path, helpers.recipe, helpers.dim) as writer:
        for number in range(4):
            helpers.add_image(writer, number, repeats=(2, 3))
    grown = open_store(store.path)
    assert (grown.version, grown.repeats, len(grown)) == (2, [0, 1, 2, 3], 32)
    assert grown.images["img_0001.png"].label == "B"
    np.testing.assert_array_equal(open_store(store.path, version=1).keys, store.keys)
    np.testing.assert_array_equal(grown.embeddings(repeats=[0, 1]), store.embeddings())


def test_nothing_new_makes_no_version(make_store, helpers):
    store = make_store(2)
    with create_store(store.path, helpers.recipe, helpers.dim):
        pass
    assert open_store(store.path).version == 1


def test_a_key_is_taken_once(make_store, helpers):
    store = make_store(2)
    with pytest.raises(DataError, match=r"img_0001\.png.*blob 0, repeat 1.*already"):
        helpers.add_image(create_store(store.path, helpers.recipe, helpers.dim), 1, repeats=(1, 2))


def test_a_key_is_taken_once_within_a_block(helpers, tmp_path):
    writer = create_store(tmp_path / "x.store", helpers.recipe, helpers.dim)
    helpers.add_image(writer, 1)
    with pytest.raises(DataError, match="already"):
        helpers.add_image(writer, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 1}, "seed is 0, asked for 1"),
        ({"encoder": {"name": "other", "dim": 6}}, "encoder.name"),
        ({"more": 1}, "more.*or take the options it was made with"),
        ({"encoder": {"name": "made-up", "dim": 6, "version": 2}}, "encoder.version.*this one is of another release"),
    ],
)
def test_another_recipe_is_refused_and_the_fields_named(make_store, helpers, change, field):
    store = make_store(1)
    with pytest.raises(RecipeMismatchError, match=field):
        create_store(store.path, {**helpers.recipe, **change}, helpers.dim)


def test_another_dimension_or_type_is_refused(make_store, helpers):
    store = make_store(1)
    with pytest.raises(RecipeMismatchError, match="dim is 6, asked for 7"):
        create_store(store.path, helpers.recipe, 7)
    with pytest.raises(RecipeMismatchError, match="dtype"):
        create_store(store.path, helpers.recipe, helpers.dim, dtype="float16")


@pytest.mark.parametrize(
    ("blobs", "repeats", "embeddings", "message"),
    [
        ([0], [0], np.zeros((1, 5)), r"\(1, 5\)"),
        ([0], [0], np.zeros(6), r"\(6,\)"),
        ([0, 1], [0], np.zeros((2, 6)), "1 repeats"),
        ([0], [0], np.full((1, 6), np.nan), "not finite"),
        ([-1], [0], np.zeros((1, 6)), "blobs"),
        ([0.5], [0], np.zeros((1, 6)), "blobs"),
        ([0], [2**31], np.zeros((1, 6)), "repeats"),
        ([0, 0], [1, 1], np.zeros((2, 6)), "twice"),
        ([2, 0, 2], [1, 1, 1], np.zeros((3, 6)), "twice"),
        ([[0], [0, 1]], [0], np.zeros((1, 6)), "no array"),
        ([0], [0], np.ones((1, 6)) * 1j, "complex"),
        ([0], [0], np.full((1, 6), "1"), "real numbers"),
        ([0], [0], np.full((1, 6), "2026-01-01", dtype="datetime64[s]"), "datetime"),
        ([0], [0], [[1, 2], [3]], "no array"),
        ([0], [0], np.full((1, 6), None), "object"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(helpers, tmp_path, blobs, repeats, embeddings, message):
    writer = create_store(tmp_path / "x.store", helpers.recipe, helpers.dim)
    with pytest.raises(DataError, match=message):
        writer.add(image="a.png", blobs=blobs, repeats=repeats, embeddings=embeddings)


@pytest.mark.parametrize(
    "boxes",
    [
        [[0, 2**32 + 5, 0, 0, 9, 9]],
        [[0, 1, 2]],
        [0, 1, 2, 3, 4, 5],
        np.zeros((6, 2), dtype=int),
        [[0, 4, 0.5, 0, 1, 1]],
        ["a box"],
        [[-1, 4, 0, 0, 2, 2]],
        [[0], [0, 1]],
    ],
)
def test_boxes_that_do_not_fit_are_refused(helpers, tmp_path, boxes):
    writer = create_store(tmp_path / "x.store", helpers.recipe, helpers.dim)
    with pytest.raises(DataError, match=r"'a\.png': boxes"):
        writer.add("a.png", [0], [0], np.zeros((1, 6)), boxes=boxes)


def test_rows_may_come_in_any_order(tmp_path):
    with create_store(tmp_path / "x.store", {}, 1) as writer:
        writer.add("a", np.array([1, 0, 0], dtype=np.uint8), [0, 1, 0], [[10], [1], [0]], boxes=[])
    store = open_store(tmp_path / "x.store")
    assert store.keys[["blob", "repeat"]].tolist() == [(0, 0), (0, 1), (1, 0)]
    assert store.embeddings()[:, 0].tolist() == [0, 1, 10]


@pytest.mark.parametrize("dim", [0, -1, 2.0, True, "3", None, 2**33])
def test_odd_dimensions_are_refused(tmp_path, dim):
    with pytest.raises(SettingError, match=r"dim is .* a whole number from 1"):
        create_store(tmp_path / "x.store", {}, dim)


def test_a_dimension_may_be_a_number_of_numpy(tmp_path):
    with create_store(tmp_path / "x.store", {}, np.int64(2)) as writer:
        writer.add("a", [0], [0], [[1.0, 2.0]])
    assert open_store(tmp_path / "x.store").dim == 2


def test_float16_overflow_is_refused_and_float16_is_kept(helpers, tmp_path):
    with create_store(tmp_path / "x.store", helpers.recipe, 2, dtype="float16") as writer:
        with pytest.raises(DataError, match="float16"):
            writer.add(image="a", blobs=[0], repeats=[0], embeddings=[[1e6, 0]])
        writer.add(image="a", blobs=[0], repeats=[0], embeddings=[[0.1, 2]])
    store = open_store(tmp_path / "x.store")
    assert store.embeddings().dtype == np.float32
    np.testing.assert_array_equal(store.embeddings(), np.float32(np.float16([[0.1, 2]])))


@pytest.mark.parametrize(
    "recipe",
    [
        None,
        "x",
        {"x": float("nan")},
        {"x": object()},
        {1: "a", 10: "b", 2: "c"},
        {"x": [{None: 1}]},
        {"x": "y" * 2**20},
    ],
    ids=["none", "text", "nan", "object", "numbers as keys", "a key inside", "long"],
)
def test_a_recipe_must_be_json_of_reasonable_size(tmp_path, recipe):
    with pytest.raises(SettingError, match=r"JSON|mapping"):
        create_store(tmp_path / "x.store", recipe, 3)


def test_a_recipe_is_the_same_as_it_is_read_back(tmp_path):
    for image in "ab":
        with create_store(tmp_path / "x.store", {"fill": (0.5, 0.5)}, 1) as writer:
            writer.add(image, [0], [0], [[1.0]])
    assert open_store(tmp_path / "x.store").recipe == {"fill": [0.5, 0.5]}


def test_bad_settings_and_a_file_in_the_way(tmp_path, helpers):
    with pytest.raises(SettingError, match="dtype is 'int8'"):
        create_store(tmp_path / "x.store", {}, 1, dtype="int8")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreFormatError, match="a file"):
        create_store(tmp_path / "file", {}, 3)
    with pytest.raises(StoreWriteError, match="file"), create_store(tmp_path / "file" / "x.store", {}, 1) as writer:
        writer.add(image="a", blobs=[0], repeats=[0], embeddings=[[1.0]])


def test_a_changed_image_replaces_its_old_rows(tmp_path, helpers):
    path = tmp_path / "x.store"

    def facts(digest):
        return {"sha256": digest, "mask_sha256": "m", "source": "mask", "blobs": 1, "label": "A"}

    for digest in ("one", "two"):
        with create_store(path, helpers.recipe, helpers.dim) as writer:
            assert writer.stored("a.png", (digest, "m")) == set()
            writer.add("a.png", [0], [0], np.full((1, 6), len(digest) + (digest == "two")), facts=facts(digest))
            writer.add("b.png", [0], [0], np.ones((1, 6)), facts=facts("b")) if digest == "one" else None
    assert len(open_store(path)) == 2
    assert open_store(path).embeddings(images=["a.png"])[0, 0] == 4
    assert open_store(path, version=1).embeddings(images=["a.png"])[0, 0] == 3


def test_a_label_changed_in_the_store_stays_until_the_data_change(tmp_path, helpers):
    path = tmp_path / "x.store"
    facts = {"sha256": "s", "label": "A", "given": "as first read"}
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.add("a.png", [0], [0], np.ones((1, 6)), facts=facts)
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.add("a.png", [], [], np.ones((0, 6)), label="corrected")
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.register("a.png", **facts)
    assert open_store(path).images["a.png"].label == "corrected"
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.register("a.png", **{**facts, "label": "C", "given": "as changed"})
    assert open_store(path).images["a.png"].label == "C"


def test_segments_are_cut_by_size(tmp_path, helpers, monkeypatch):
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 300)
    with create_store(tmp_path / "x.store", helpers.recipe, helpers.dim) as writer:
        for number in range(9):
            helpers.add_image(writer, number)
    assert len(list((tmp_path / "x.store" / "segments").iterdir())) == 3
    store = open_store(tmp_path / "x.store")
    assert [tuple(key) for key in store.keys] == sorted(tuple(key) for key in store.keys)
    assert len(store) == 36


@settings(max_examples=25, deadline=None)
@given(
    chunks=st.lists(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=8, unique=True
        ),
        min_size=1,
        max_size=5,
    )
)
def test_the_order_of_writing_never_shows(tmp_path_factory, helpers, chunks):
    """Any keys, in any order, in any number of commits: the same keys and embeddings in key order."""
    path = tmp_path_factory.mktemp("any") / "x.store"
    written = {(image, 0, 0) for image in range(4)}
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        for image, blob, repeat in written:
            writer.add(f"{image}", [blob], [repeat], helpers.vector(image, blob, repeat)[None])
    for chunk in chunks:
        with create_store(path, helpers.recipe, helpers.dim) as writer:
            for image, blob, repeat in chunk:
                if (image, blob, repeat) not in written:
                    writer.add(f"{image}", [blob], [repeat], helpers.vector(image, blob, repeat)[None])
                    written.add((image, blob, repeat))
    store = open_store(path)
    assert [(int(k["image"]), int(k["blob"]), int(k["repeat"])) for k in store.keys] == sorted(written)
    expected = np.stack([helpers.vector(*key) for key in sorted(written)])
    np.testing.assert_array_equal(store.embeddings(), expected)


def test_rows_of_images_keep_every_field(make_store):
    row = make_store(1).images["img_0000.png"]
    assert asdict(row) == {
        **asdict(type(row)("img_0000.png")),
        "sample_index": "img_0000.png",
        "label": "A",
        "blobs": 2,
    }


@pytest.mark.parametrize("field", ["image", "sample_index", "sha256", "mask_sha256"])
def test_columns_of_fixed_width_stay_narrow(tmp_path, field):
    writer = create_store(tmp_path / "x.store", {}, 1)
    writer.register(**{"image": "a", field: "é" * 512})
    with pytest.raises(DataError, match=f"{field} of 1026 bytes; expected at most 1024"):
        writer.register(**{"image": "b", field: "é" * 513})


@pytest.mark.parametrize("said", [{"label": 3}, {"group": 7}, {"label": "a\0b"}, {"label": "\ud800"}])
def test_what_a_reader_would_refuse_is_not_written(make_store, helpers, said):
    store = make_store(1)
    with pytest.raises(DataError, match=r"img_0009\.png"):
        helpers.add_image(create_store(store.path, helpers.recipe, helpers.dim), 9, **said)
    assert open_store(store.path).version == 1


def test_an_image_needs_a_clean_embedding(helpers, tmp_path):
    writer = create_store(tmp_path / "x.store", helpers.recipe, helpers.dim)
    helpers.add_image(writer, 0, repeats=(1, 2))
    with pytest.raises(DataError, match="repeat 0"):
        writer.commit()


def test_extreme_keys_lose_nothing(helpers, tmp_path):
    path, largest = tmp_path / "x.store", 2**31 - 1
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        for name in "abcdefgh":
            writer.add(name, [largest, 0, 5], [0, largest, 0], np.zeros((3, 6)))
    keys = open_store(path).keys
    assert [key.item() for key in keys[:3]] == [("a", 0, largest), ("a", 5, 0), ("a", largest, 0)]
    assert len(keys) == 24


def test_images_that_are_left_out_do_not_count(helpers, tmp_path):
    path = tmp_path / "x.store"
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        for split in ("train", "test"):
            facts = {"split": split, "artefact": "contaminated_green", "blobs": 1}
            writer.add(split, [0], [0], np.zeros((1, 6)), facts=facts)
    store = open_store(path)
    assert store.keys["image"].tolist() == ["test"]
    assert (store.info()["images"], store.info()["left_out"]) == (1, 1)
    assert create_store(path, helpers.recipe, helpers.dim).stored("train", ("", "")) == {(0, 0)}


def test_a_folder_of_something_else_is_not_made_a_store(helpers, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreFormatError, match=r"notes\.txt"):
        create_store(tmp_path, helpers.recipe, helpers.dim)


def test_more_segments_than_a_process_may_open_files(make_store, helpers):
    store = make_store(1)
    script = """
        import resource, sys
        import numpy as np
        from featstore.store import create_store, open_store
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        for number in range(100):
            with create_store(sys.argv[1], {"a": 1}, 2) as writer:
                writer.add(f"{number:03d}", [0], [0], np.full((1, 2), number))
        print(open_store(sys.argv[1]).embeddings()[:, 0].sum())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(store.path.with_name("many.store"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) == sum(range(100))
