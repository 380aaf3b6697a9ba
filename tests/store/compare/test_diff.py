"""What differs between stores: every kind of difference, and cosines that can be believed."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featstore.errors import SettingError, StoreFormatError, StoreNotFoundError
from featstore.store import NewLabel, create_store, merge, open_store, pack, relabel, vacuum
from featstore.store.compare import cosines as cosines_module
from featstore.store.compare.cosines import CosineSummary, compare_rows, cosines, written
from featstore.store.compare.diff import diff, open_pair
from featstore.store.compare.matching import match_keys


def write(path: Path, rows: dict[str, np.ndarray], *, recipe=None, dtype="float32", facts=None):
    """A store with a blob for each embedding of each image, all of them clean."""
    dim = next(iter(rows.values())).shape[1]
    with create_store(path, recipe or {"encoder": "made-up"}, dim, dtype=dtype) as writer:
        for image, embeddings in rows.items():
            blobs = range(len(embeddings))
            writer.add(image, blobs, [0] * len(embeddings), embeddings, facts=(facts or {}).get(image))
    return open_store(path)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_store_is_the_same_as_its_copy(make_store, tmp_path):
    store = make_store()
    shutil.copytree(store.path, tmp_path / "copy.store")
    found = diff(store, open_store(tmp_path / "copy.store"))
    assert found.same
    assert (found.shared, found.cosines.count, found.cosines.identical) == (len(store),) * 3
    assert found.cosines.min == found.cosines.mean == 1.0
    assert set(found.cosines.quantiles.values()) == {1.0}
    assert found.cosines.largest_difference == 0.0
    assert found.worst == ()


def test_recipe_fields_and_lengths(tmp_path):
    a = write(tmp_path / "a.store", {"x.png": numbers(2, 4)}, recipe={"encoder": {"name": "one"}, "seed": 0})
    b = write(tmp_path / "b.store", {"x.png": numbers(2, 5)}, recipe={"encoder": {"name": "two"}, "seed": 0})
    found = diff(a, b)
    assert found.recipe == ({"field": "encoder.name", "a": "one", "b": "two"},)
    assert (found.shared, found.cosines, found.worst, found.same) == (2, None, (), False)
    assert (found.a.dim, found.b.dim) == (4, 5)


def test_keys_of_one_side_are_counted_and_the_first_named(make_store, helpers, tmp_path):
    a = make_store(3)
    with create_store(tmp_path / "b.store", helpers.recipe, helpers.dim) as writer:
        for number in (0, 2, 7):
            helpers.add_image(writer, number, repeats=(0,) if number == 2 else (0, 1), label="AB"[number % 2])
    found = diff(a, open_store(tmp_path / "b.store"))
    assert found.images_only_a.first == ("img_0001.png",)
    assert found.images_only_b.first == ("img_0007.png",)
    assert found.keys_only_a.count == 4 + 2
    assert [tuple(key.values()) for key in found.keys_only_a.first[-1:]] == [("img_0002.png", 0, 1)]
    assert (found.keys_only_b.count, found.shared) == (4, 6)
    assert found.cosines.identical == 6
    assert not found.same


def test_images_of_other_content_are_named_and_not_compared(tmp_path):
    facts = {name: {"sha256": "1" * 64, "mask_sha256": "2" * 64} for name in "abc"}
    rows = {name: numbers(2, 4, seed=number) for number, name in enumerate("abc")}
    one = write(tmp_path / "one.store", rows, facts=facts)
    changed = {
        "a": facts["a"],
        "b": {"sha256": "3" * 64, "mask_sha256": "2" * 64},
        "c": {"sha256": "3" * 64, "mask_sha256": "4" * 64},
    }
    other = write(tmp_path / "other.store", rows | {"b": -rows["b"]}, facts=changed)
    found = diff(one, other)
    assert found.content.count == 2
    assert found.content.first == ({"image": "b", "what": "image"}, {"image": "c", "what": "image and mask"})
    assert (found.shared, found.cosines.count, found.cosines.min) == (6, 2, 1.0)


def test_where_one_side_has_no_digests_names_count(tmp_path):
    rows = {name: numbers(2, 4, seed=number) for number, name in enumerate("ab")}
    known = {name: {"sha256": "1" * 64, "mask_sha256": "2" * 64} for name in rows}
    one, other = write(tmp_path / "one.store", rows, facts=known), write(tmp_path / "other.store", rows)
    for a, b, without in ((one, other, "b"), (other, one, "a"), (other, other, "a and b"), (one, one, "")):
        found = diff(a, b)
        assert (found.without_digests, found.content.count, found.cosines.identical) == (without, 0, 4)
        assert found.same
    partly = write(tmp_path / "partly.store", rows, facts={"a": known["a"]})
    assert diff(one, partly).content.first == ({"image": "b", "what": "image and mask"},)


def test_labels_splits_and_groups_of_two_versions(make_store):
    store = make_store(4)
    relabel(store.path, [NewLabel("img_0001.png", "C"), NewLabel("img_0002.png", split="test", group="p7")])
    found = diff(*open_pair(store.path))
    assert (found.a.version, found.b.version) == (1, 2)
    assert found.facts["label"].first == ({"image": "img_0001.png", "a": "B", "b": "C"},)
    assert found.facts["split"].first == ({"image": "img_0002.png", "a": "train", "b": "test"},)
    assert found.facts["group"].first == ({"image": "img_0002.png", "a": "", "b": "p7"},)
    assert (found.facts["left_out"].count, found.cosines.identical, found.same) == (0, len(store), False)


def test_an_image_that_is_left_out_on_one_side(make_store):
    store = make_store(2)
    with create_store(store.path, store.recipe, store.dim) as writer:
        writer.register("img_0001.png", reason="unreadable", note="why")
    found = diff(*open_pair(store.path))
    assert found.facts["left_out"].first == ({"image": "img_0001.png", "a": "", "b": "unreadable"},)
    assert (found.keys_only_a.count, found.shared) == (4, 4)


def test_which_versions_are_compared(make_store):
    store = make_store(2)
    with pytest.raises(SettingError, match=r"version 1 has none before it.*two versions, or two stores"):
        open_pair(store.path)
    for label in "CDE":
        relabel(store.path, [NewLabel("img_0000.png", label)])
    pairs = {(): (3, 4), (None, 3): (2, 3), (1, None): (1, 4), (2, 2): (2, 2)}
    for wanted, expected in pairs.items():
        versions = dict(zip(("version_a", "version_b"), wanted, strict=False))
        assert tuple(side.version for side in open_pair(store.path, **versions)) == expected
    assert [side.version for side in open_pair(store.path, store.path)] == [4, 4]
    with pytest.raises(StoreNotFoundError):
        open_pair(store.path, version_a=9)


def test_small_differences_are_seen_and_the_worst_is_named(tmp_path):
    """As two devices would differ: in the last digits everywhere, and more in one place."""
    rows = {f"{number}.png": numbers(3, 64, seed=number) for number in range(20)}
    nudged = {name: values * np.float32(1 + 1e-6) + np.float32(1e-6) for name, values in rows.items()}
    nudged["7.png"][2] += np.float32(0.3) * numbers(64, seed=99)
    nudged["3.png"] = rows["3.png"]
    found = diff(write(tmp_path / "a.store", rows), write(tmp_path / "b.store", nudged))
    assert (found.cosines.count, found.cosines.identical) == (60, 3)
    assert (found.worst[0].image, found.worst[0].blob, found.worst[0].repeat) == ("7.png", 2, 0)
    assert found.worst[0].cosine == found.cosines.min < 0.99
    assert 1 - 1e-9 < found.worst[1].cosine < 1
    assert 1 - 1e-9 < found.cosines.quantiles["0.5"] < 1
    difference = max(np.abs(rows[name].astype(float) - nudged[name]).max() for name in rows)
    assert found.cosines.largest_difference == difference


def test_how_each_was_computed_is_told(tmp_path):
    for name, device in (("a", "cpu"), ("b", "mps")):
        with create_store(tmp_path / name, {}, 2) as writer:
            writer.how["device"] = device
            writer.add("x.png", [0], [0], [[1, 2]])
    found = diff(open_store(tmp_path / "a"), open_store(tmp_path / "b"))
    assert (found.a.how, found.b.how) == ({"device": ["cpu"]}, {"device": ["mps"]})
    assert found.same, "how is no difference of what is stored"


def test_writing_anew_is_no_way_of_computing(many, tmp_path):
    """What compaction and merging note in the log, and a label has nothing to note."""
    path = many(3)
    shutil.copytree(path, tmp_path / "before.store")
    merge([path], tmp_path / "merged.store", prefer="last")
    relabel(path, [NewLabel("000", label="Z")])
    vacuum(path, apply=True, compact=True)
    for name in ("many.store", "merged.store"):
        found = diff(open_store(tmp_path / "before.store"), open_store(tmp_path / name))
        assert found.a.how == found.b.how == {}


def test_half_precision_against_single(tmp_path):
    rows = {"x.png": numbers(50, 32)}
    found = diff(write(tmp_path / "a", rows), write(tmp_path / "b", rows, dtype="float16"))
    assert 0.999999 < found.cosines.min < 1
    assert not found.same
    whole = {"x.png": np.ones((2, 4), dtype=np.float32)}
    found = diff(write(tmp_path / "c", whole), write(tmp_path / "d", whole, dtype="float16"))
    assert found.cosines.identical == 2
    assert not found.same, "they are stored otherwise"


def test_zeros_have_no_cosine_and_json_no_nan(tmp_path):
    zeros = np.zeros((2, 4), dtype=np.float32)
    values = numbers(3, 4)
    a = write(tmp_path / "a", {"x": zeros, "y": zeros, "z": values})
    b = write(tmp_path / "b", {"x": zeros, "y": numbers(2, 4), "z": values})
    found = diff(a, b)
    assert (found.cosines.count, found.cosines.identical, found.cosines.undefined) == (7, 5, 4)
    assert (found.cosines.min, found.cosines.mean) == (1.0, 1.0)
    assert [(key.image, key.cosine) for key in found.worst] == [("y", None), ("y", None)]
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["cosines"]["undefined"] == 4
    assert plain["same"] is False
    only_zeros = diff(*(write(tmp_path / name, {"x": zeros}) for name in "cd"))
    assert (only_zeros.cosines.min, only_zeros.cosines.mean, only_zeros.cosines.quantiles) == (None, None, {})
    assert only_zeros.same


def test_a_packed_store_and_a_part_of_it(make_store, tmp_path):
    store = make_store(4)
    pack(store, tmp_path / "all.h5")
    pack(store, tmp_path / "clean.h5", repeats=0)
    assert diff(store, open_store(tmp_path / "all.h5")).same
    found = diff(store, open_store(tmp_path / "clean.h5"))
    assert (found.keys_only_a.count, found.cosines.identical, found.same) == (8, 8, False)


def test_a_damaged_embedding_is_named_and_not_compared(make_store, tmp_path):
    store = make_store(2)
    shutil.copytree(store.path, tmp_path / "damaged.store")
    (segment,) = (tmp_path / "damaged.store" / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    place = data.index(store.embeddings()[3].tobytes())
    data[place + 1] ^= 4
    segment.chmod(0o644)
    segment.write_bytes(data)
    with pytest.raises(StoreFormatError, match=segment.name):
        diff(store, open_store(tmp_path / "damaged.store"))


@pytest.mark.parametrize(
    ("cosine", "text"),
    [
        (1.0, "1"),
        (1 - 2**-53, "1 - 1e-16"),
        (1 - 3e-10, "1 - 3e-10"),
        (0.9999, "0.999900000"),
        (0.0, "0.000000000"),
        (-1.0, "-1.000000000"),
    ],
)
def test_what_is_less_than_one_does_not_look_like_one(cosine, text):
    assert written(cosine) == text


def test_nothing_shared_and_nothing_there(make_store, helpers, tmp_path):
    with create_store(tmp_path / "empty.store", helpers.recipe, helpers.dim) as writer:
        writer.register("img_0000.png", reason="unreadable")
    empty, store = open_store(tmp_path / "empty.store"), make_store(2)
    for a, b in ((empty, store), (store, empty)):
        found = diff(a, b)
        assert (found.shared, found.cosines.count, found.cosines.min) == (0, 0, None)
        assert found.cosines.largest_difference is None
        json.dumps(found.to_dict(), allow_nan=False)
    assert diff(empty, empty).same


some_embeddings = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
)


@given(some_embeddings)
def test_equal_rows_have_a_cosine_of_exactly_one(values):
    expected = np.where((values == 0).all(axis=1), np.nan, 1.0)
    np.testing.assert_array_equal(cosines(values, values), expected)
    np.testing.assert_array_equal(cosines(values, -values), -expected)


@given(some_embeddings, st.integers(0, 9))
def test_cosines_are_those_of_the_formula(values, seed):
    other = numbers(*values.shape, seed=seed)
    a, b = values.astype(np.longdouble), other.astype(np.longdouble)
    with np.errstate(invalid="ignore"):
        expected = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    found = cosines(values, other)
    np.testing.assert_allclose(found, expected.astype(float), rtol=0, atol=1e-14)
    assert not (np.abs(found) > 1).any()


def test_numbers_that_are_not_finite_are_set_apart(monkeypatch):
    """No writer of ours stores them; a summary must not drown in them all the same."""

    class Held:
        dim = 3

        def __init__(self, rows):
            self.rows = np.array(rows, dtype=np.float32)

        def take(self, indices):
            return self.rows[indices]

    monkeypatch.setattr(cosines_module, "CHUNK_BYTES", 1)
    big = np.finfo(np.float32).max
    a = Held([[1, 2, 3], [np.inf, 1, 1], [np.nan, 0, 0], [big, big, 0]])
    b = Held([[1, 2, 4], [np.inf, 1, 1], [0, 0, 1], [-big, big, 0]])
    compared = compare_rows(a, np.arange(4), b, np.arange(4))
    summary = CosineSummary.of(compared)
    assert (summary.count, summary.identical, summary.undefined) == (4, 1, 2)
    assert summary.min == pytest.approx(0)
    assert summary.largest_difference == 2 * float(big)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=3)
some_keys = st.sets(st.tuples(names, st.integers(0, 2**31 - 1), st.integers(0, 3)), max_size=12)


@given(some_keys, some_keys)
def test_keys_are_matched_as_sets_match_them(one, other):
    a, b = (_key_array(keys) for keys in (one | {("x", 1, 1)}, other))
    match = match_keys(a, b)
    shared = [key.item() for key in a[match.shared_a]]
    assert shared == [key.item() for key in b[match.shared_b]]
    assert set(shared) == set(a.tolist()) & set(b.tolist())
    assert {key.item() for key in a[match.only_a]} == set(a.tolist()) - set(b.tolist())
    assert {key.item() for key in b[match.only_b]} == set(b.tolist()) - set(a.tolist())


def _key_array(keys):
    return np.array(sorted(keys), dtype=[("image", "U3"), ("blob", np.int32), ("repeat", np.int32)])


def test_memory_is_bounded_by_the_keys_and_not_by_the_embeddings(tmp_path):
    """100,000 shared rows of 1 KiB: both stores together hold 200 MB, and a few chunks are in memory at once."""
    rows = {f"{number:03d}": np.full((1000, 256), number + 1, dtype=np.float32) for number in range(100)}
    a, b = (write(tmp_path / name, rows) for name in "ab")
    tracemalloc.start()
    try:
        found = diff(a, b)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.cosines.identical == 100_000
    assert peak < 120e6
