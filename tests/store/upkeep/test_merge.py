"""Merging stores: all that is in them, each conflict named, the sources as they were."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from featstore.errors import (
    DataError,
    RecipeMismatchError,
    SettingError,
    StoreFormatError,
    StoreNotFoundError,
    StoreWriteError,
)
from featstore.store import NewLabel, create_store, merge, open_store, pack, relabel, verify

merging, rewriting = import_module("featstore.store.upkeep.merge"), import_module("featstore.store.upkeep.rewrite")


@pytest.fixture
def make(tmp_path, helpers):
    """Make a store of the given images, by number, and return its path."""

    def call(name: str, images, *, repeats=(0, 1), factor: float = 1.0, **facts):
        with create_store(tmp_path / name, helpers.recipe, helpers.dim) as writer:
            for number in images:
                keys = [(blob, repeat) for blob in range(2) for repeat in repeats]
                rows = np.stack([factor * helpers.vector(number, *key) for key in keys])
                said = {"sha256": f"{number}", "position": number, "blobs": 2, "label": "AB"[number % 2], **facts}
                boxes = [[blob, 10 * number, 0, 0, 1, 1] for blob in range(2)]
                columns = [[key[place] for key in keys] for place in (0, 1)]
                writer.add(f"{number:02d}.png", *columns, rows, facts=said, boxes=boxes)
        return tmp_path / name

    return call


def right(store, helpers, repeats=(0, 1)) -> None:
    """Every key has its own numbers, and every blob its own box."""
    expected = [helpers.vector(int(key["image"][:2]), key["blob"], key["repeat"]) for key in store.keys]
    np.testing.assert_array_equal(store.embeddings(), np.stack(expected))
    np.testing.assert_array_equal(store.blobs["area_px"], [10 * int(name[:2]) for name in store.blobs["image"]])
    assert set(store.repeats) == set(repeats)
    assert len(store.blobs) == 2 * len(store.usable())
    assert verify(store.path).ok


def test_disjoint_stores(make, tmp_path, helpers):
    """Parts of one data set, each machine's with the positions of the whole: its order comes back."""
    sources = [make(f"{part}.store", range(part, 9, 3)) for part in range(3)]
    before = {source: helpers.contents(source) for source in sources}
    done = merge(sources, tmp_path / "all.store")
    assert (done.version, done.images, done.embeddings, done.conflicts) == (1, 9, 36, [])
    store = open_store(tmp_path / "all.store")
    right(store, helpers)
    ordered = sorted(store.images.values(), key=lambda row: row.position)
    assert [row.image for row in ordered] == [f"{number:02d}.png" for number in range(9)]
    assert {source: helpers.contents(source) for source in sources} == before
    (entry,) = store.log()
    assert entry["operation"] == "merge"
    assert entry["how"]["sources"] == [{"store": f"{part}.store", "version": 1} for part in range(3)]


def test_positions_that_several_sources_use_are_counted_anew(make, tmp_path):
    sources = [make("a.store", [3, 4]), make("b.store", [1, 2], position=0)]
    for prefer in (None, "first", "last"):
        merge(sources, tmp_path / f"{prefer}.store", prefer=prefer)
        rows = sorted(open_store(tmp_path / f"{prefer}.store").images.values(), key=lambda row: row.position)
        assert [row.image for row in rows] == ["03.png", "04.png", "01.png", "02.png"]
        assert [row.position for row in rows] == [0, 1, 2, 3]


def test_the_same_images_with_other_repeats(make, tmp_path, helpers):
    """Overlap that is equal is no conflict; what only one of them has is added."""
    one, two = make("a.store", range(4), repeats=(0, 1)), make("b.store", range(2, 6), repeats=(0, 2))
    done = merge([one, two], tmp_path / "all.store")
    assert (done.images, done.embeddings, done.conflicts) == (6, 2 * (6 + 4 + 4), [])
    right(open_store(tmp_path / "all.store"), helpers, (0, 1, 2))


def test_a_packed_store_becomes_a_folder_again(make, tmp_path, helpers):
    path = make("a.store", range(5))
    relabel(path, [NewLabel("03.png", label="Z", group="g")])
    pack(open_store(path), tmp_path / "a.h5")
    merge([tmp_path / "a.h5"], tmp_path / "again.store")
    one, other = open_store(path), open_store(tmp_path / "again.store")
    np.testing.assert_array_equal(one.keys, other.keys)
    np.testing.assert_array_equal(one.embeddings(), other.embeddings())
    assert dict(one.images) == dict(other.images)
    create_store(tmp_path / "again.store", helpers.recipe, helpers.dim)


def test_parts_of_packed_stores_make_the_whole(make, tmp_path, helpers):
    store = open_store(make("a.store", range(4)))
    relabel(store.path, [NewLabel("03.png", split="test")])
    store = open_store(store.path)
    for split in ("train", "test"):
        pack(store, tmp_path / f"{split}.h5", split=split)
    merge([tmp_path / "test.h5", tmp_path / "train.h5"], tmp_path / "whole.store")
    whole = open_store(tmp_path / "whole.store")
    np.testing.assert_array_equal(whole.embeddings(), store.embeddings())
    assert dict(whole.images) == dict(store.images)
    right(whole, helpers)


CONFLICTS = {
    "content": ({"sha256": "changed"}, r"'01\.png' has other content"),
    "mask": ({"mask_sha256": "changed"}, r"'01\.png' has other content"),
    "label": ({"label": "C"}, r"'01\.png' has label 'C', not 'B'"),
    "split": ({"split": "test"}, r"'01\.png' has split 'test', not 'train'"),
    "group": ({"group": "h"}, r"'01\.png' has group 'h', not 'g'"),
    "embedding": ({"factor": 2.0}, r"embedding \('01\.png', 0, 0\) differs"),
}


@pytest.mark.parametrize(("change", "said"), CONFLICTS.values(), ids=CONFLICTS)
def test_each_conflict_is_named_and_the_preferred_store_is_right(make, tmp_path, helpers, change, said):
    sources = [make("a.store", [0, 1], group="g"), make("b.store", [1, 2], **{"group": "g", **change})]
    with pytest.raises(DataError, match=rf"the stores disagree: \S+/b\.store: {said}.*--prefer first, or last"):
        merge(sources, tmp_path / "no.store")
    assert not (tmp_path / "no.store").exists()
    for prefer, right_one in (("first", 0), ("last", 1)):
        done = merge(sources, tmp_path / f"{prefer}.store", prefer=prefer)
        assert done.conflicts
        merged, source = open_store(tmp_path / f"{prefer}.store"), open_store(sources[right_one])
        images = ["01.png"]
        np.testing.assert_array_equal(merged.embeddings(images=images), source.embeddings(images=images))
        kept, given = merged.images["01.png"], source.images["01.png"]
        for field in ("identity", "label", "split", "group"):
            assert getattr(kept, field) == getattr(given, field)
        assert len(merged) == 12
        assert verify(merged.path).ok


@pytest.mark.parametrize("prefer", [None, "first", "last"])
def test_tiles_of_two_resolutions_are_never_mixed(make, tmp_path, prefer):
    """Repeat 2 is in one store alone: it would stand beside clean tiles of another size."""
    sources = [make("a.store", [0, 1], mpp="0.5"), make("b.store", [1, 2], repeats=(0, 2), mpp="0.25")]
    one, other = ("0.25", "0.5") if prefer != "last" else ("0.5", "0.25")
    with pytest.raises(DataError, match=rf"'01\.png' has mpp {one}, not {other}; expected .*--prefer does not decide"):
        merge(sources, tmp_path / "no.store", prefer=prefer)
    assert not (tmp_path / "no.store").exists()


def test_a_resolution_that_one_store_alone_says_is_kept_with_its_tiles(make, tmp_path):
    one, two = make("a.store", [1], mpp=""), make("b.store", [1], repeats=(0, 2), mpp="0.25")
    merge([one, two], tmp_path / "all.store")
    assert open_store(tmp_path / "all.store").images["01.png"].mpp == "0.25"
    three = make("c.store", [1], sha256="changed", mpp="0.5")  # of other content no row of the others counts
    merge([three, two], tmp_path / "other.store", prefer="first")
    assert open_store(tmp_path / "other.store").images["01.png"].mpp == "0.5"
    assert open_store(tmp_path / "other.store").repeats == [0, 1]


def test_many_conflicts_are_counted(make, tmp_path):
    sources = [make("a.store", range(9)), make("b.store", range(9), factor=2.0)]
    with pytest.raises(DataError, match=r"'00\.png', 0, 0\) differs.*; and 31 more"):
        merge(sources, tmp_path / "no.store")


def test_what_one_store_does_not_say_the_other_does(make, tmp_path):
    """An empty label or group is no contradiction, and an image that one could not use is taken from the other."""
    one = make("a.store", [1], label="", group="g")
    two = make("b.store", [1, 2], label="B", group="")
    with create_store(tmp_path / "a.store", open_store(one).recipe, 6) as writer:
        writer.register("02.png", reason="unreadable", note="half a file", position=2)
    done = merge([one, two], tmp_path / "all.store")
    images = open_store(tmp_path / "all.store").images
    assert done.conflicts == []
    assert (images["01.png"].label, images["01.png"].group) == ("B", "g")
    assert (images["02.png"].reason, images["02.png"].sha256) == ("", "2")
    assert len(open_store(tmp_path / "all.store")) == 8


def test_images_that_no_store_could_use_keep_their_reason(make, tmp_path, helpers):
    path = make("a.store", [1])
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.register("broken.png", reason="unreadable", note="why")
        helpers.add_image(writer, 7, facts={"artefact": "contaminated_green"})
    merge([path, make("b.store", [2])], tmp_path / "all.store")
    store = open_store(tmp_path / "all.store")
    assert (store.images["broken.png"].reason, store.images["broken.png"].note) == ("unreadable", "why")
    assert set(store.keys["image"]) == {"01.png", "02.png"}
    relabel(store.path, [NewLabel("img_0007.png", split="test")])
    assert "img_0007.png" in open_store(store.path).keys["image"]


def test_a_store_never_disagrees_with_itself(make, tmp_path, helpers):
    """Two writers computed the same key on unlike machines: the one committed first counts, in a copy too."""
    path = make("a.store", [1])
    writers = [create_store(path, helpers.recipe, helpers.dim) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.add("twice.png", [0], [0], np.full((1, helpers.dim), number))
    for writer in writers:
        writer.commit()
    for sources, prefer in (([path], None), ([path, make("b.store", [2])], "last")):
        done = merge(sources, tmp_path / f"{prefer}.store", prefer=prefer)
        assert done.conflicts == []
        assert not open_store(tmp_path / f"{prefer}.store").embeddings(images=["twice.png"]).any()


def test_other_recipes_are_refused_and_the_field_named(make, tmp_path, helpers):
    path = make("a.store", [1])
    for name, recipe, keywords in (
        ("seed is 0 and 1", {**helpers.recipe, "seed": 1}, {"dim": 6}),
        ("dim is 6 and 7", helpers.recipe, {"dim": 7}),
        ("dtype is 'float32' and 'float16'", helpers.recipe, {"dim": 6, "dtype": "float16"}),
    ):
        other = tmp_path / f"{len(list(tmp_path.iterdir()))}.store"
        with create_store(other, recipe, **keywords) as writer:
            writer.add("x", [0], [0], np.zeros((1, keywords["dim"])))
        with pytest.raises(RecipeMismatchError, match=name):
            merge([path, other], tmp_path / "no.store")
    assert not (tmp_path / "no.store").exists()


def test_targets_and_sources_that_cannot_be(make, tmp_path):
    path, other = make("a.store", [1]), make("b.store", [2])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for target in (path, other, tmp_path / "folder", tmp_path / "file"):
        with pytest.raises(StoreFormatError, match=target.name):
            merge([path, other], target)
    with pytest.raises(StoreNotFoundError, match=r"ghost\.store"):
        merge([path, tmp_path / "ghost.store"], tmp_path / "no.store")
    for sources, prefer in (([], None), ([path], "second")):
        with pytest.raises(SettingError):
            merge(sources, tmp_path / "no.store", prefer=prefer)
    (tmp_path / "empty.store").mkdir()
    assert merge([path], tmp_path / "empty.store").version == 1


def test_a_merge_that_failed_can_be_run_again(make, tmp_path, helpers, monkeypatch):
    path = make("a.store", range(3))

    def full(*_, **__):
        raise StoreWriteError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(merging, "commit", full)
        with pytest.raises(StoreWriteError, match="no space left"):
            merge([path], tmp_path / "all.store")
    with pytest.raises(StoreNotFoundError):
        open_store(tmp_path / "all.store")
    assert merge([path], tmp_path / "all.store").version == 1
    right(open_store(tmp_path / "all.store"), helpers)


def test_a_large_merge_makes_segments_of_the_usual_size(make, tmp_path, helpers, monkeypatch):
    sources = [make(f"{part}.store", [part]) for part in range(10)]
    monkeypatch.setattr(rewriting, "SEGMENT_BYTES", 12 * 4 * helpers.dim)
    monkeypatch.setattr(rewriting, "_CHUNK_BYTES", 1)
    merge(sources, tmp_path / "all.store")
    store = open_store(tmp_path / "all.store")
    assert [entry.rows for entry in store.state.segments] == [12, 12, 12, 4]
    right(store, helpers)


def test_damage_in_a_source_is_not_merged(make, tmp_path, helpers):
    sources = [make("a.store", [1]), make("b.store", [2])]
    (segment,) = (sources[1] / "segments").iterdir()
    helpers.flip(segment, open_store(sources[1]).state.read_segments()[0].embeddings.offset)
    with pytest.raises(StoreFormatError, match=segment.name):
        merge(sources, tmp_path / "no.store")
    with pytest.raises(StoreNotFoundError):
        open_store(tmp_path / "no.store")
