"""Packed stores: one version, or a part of it, as one file that reads like the folder."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featstore.errors import DataError, SettingError, StoreFormatError, StoreNotFoundError, StoreWriteError
from featstore.store import NewLabel, create_store, open_store, pack, relabel, verify
from featstore.toolkit import MeanPool


@pytest.fixture
def store(tmp_path, helpers):
    """Three versions: both splits, an image left out, one contaminated, one replaced, boxes, a group."""
    path = tmp_path / "some.store"
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        for number in range(8):
            boxes = [[blob, 100 + number, 0, 1, 2, 3 + blob] for blob in range(2)]
            facts = {"sha256": f"content {number}", "label": "AB"[number % 2], "blobs": 2, "position": number}
            helpers.add_image(writer, number, repeats=(0, 1, 2), facts=facts, boxes=boxes)
        writer.register("broken.png", reason="unreadable", note="no image at all", sample_index="broken")
        writer.register("waiting.png", note="nothing wrong, nothing embedded yet")
        facts = {"artefact": "contaminated_green", "position": 20}
        helpers.add_image(writer, 20, facts=facts)
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        helpers.add_image(writer, 9, split="test", repeats=(0,))
        helpers.add_image(writer, 5, blobs=1, facts={"sha256": "changed", "label": "B", "blobs": 1, "position": 5})
    relabel(path, [NewLabel("img_0000.png", group="p"), NewLabel("img_0003.png", group="p", label="A")])
    return open_store(path)


def same(one, other, *, but: tuple[str, ...] = ()) -> None:
    """Two stores read alike in every way that the public interface has."""
    np.testing.assert_array_equal(one.keys, other.keys)
    np.testing.assert_array_equal(one.embeddings(), other.embeddings())
    np.testing.assert_array_equal(one.blobs, other.blobs)
    assert dict(one.images) == dict(other.images)
    assert list(one.images) == list(other.images)
    there, here = one.info(), other.info()
    assert {name for name in there if there[name] != here[name]} == {"store", *but}
    for split in ("train", "test", "all"):
        bags, others = one.bags(split), other.bags(split)
        for name in ("images", "labels", "groups"):
            np.testing.assert_array_equal(getattr(bags, name), getattr(others, name))
        for bag, twin in zip(bags, others, strict=True):
            np.testing.assert_array_equal(bag.embeddings, twin.embeddings)
        assert bags.provenance == others.provenance


def test_a_packed_store_reads_like_the_folder(store, tmp_path, helpers):
    before = helpers.contents(store.path)
    count = pack(store, tmp_path / "some.h5")
    packed = open_store(tmp_path / "some.h5")
    same(store, packed)
    assert count == len(store) + 4
    assert packed.version == store.version == 3
    assert (packed.path, packed.recipe, packed.fingerprint) == (tmp_path / "some.h5", store.recipe, store.fingerprint)
    assert helpers.contents(store.path) == before
    assert verify(packed.path).ok
    assert [entry["operation"] for entry in packed.log()] == ["label"]
    np.testing.assert_array_equal(packed.take([3, -1, 3]), store.take([3, -1, 3]))
    with pytest.raises(StoreNotFoundError, match="no version 2; expected 3: a packed store holds one"):
        open_store(packed.path, version=2)


def test_images_that_are_left_out_keep_their_rows_and_reasons(store, tmp_path, helpers):
    """What contaminates a training image does not keep it from testing: its rows are there when its split changes."""
    pack(store, tmp_path / "some.h5")
    packed = open_store(tmp_path / "some.h5")
    assert packed.images["broken.png"].note == "no image at all"
    assert "img_0020.png" not in packed.keys["image"]
    rows = packed.state.read_segments()[0]
    assert b"img_0020.png" in rows.images["image"][rows.image]


@pytest.mark.parametrize("split", ["all", "train", "test"])
@pytest.mark.parametrize("repeats", [None, 0, 1, 99])
def test_a_part_of_a_store(store, tmp_path, split, repeats):
    pack(store, tmp_path / "part.h5", repeats=repeats, split=split)
    packed = open_store(tmp_path / "part.h5")
    in_split = {name for name, row in store.images.items() if split in {"all", row.split}}
    wanted = [name in in_split for name in store.keys["image"].tolist()]
    wanted &= store.keys["repeat"] <= (99 if repeats is None else repeats)
    np.testing.assert_array_equal(packed.keys, store.keys[wanted])
    np.testing.assert_array_equal(packed.embeddings(), store.embeddings()[wanted])
    assert {name: packed.images[name] for name in packed.images} == {name: store.images[name] for name in in_split}
    assert set(packed.blobs["image"]) == {name for name in store.blobs["image"] if name in in_split}
    assert verify(packed.path).ok
    (entry,) = packed.log()
    assert entry["packed"] == {"repeats": repeats, "split": split}


def test_an_older_version(store, tmp_path):
    earlier = open_store(store.path, version=1)
    pack(earlier, tmp_path / "old.h5")
    same(earlier, open_store(tmp_path / "old.h5"))
    assert open_store(tmp_path / "old.h5").version == 1


def test_a_part_of_a_packed_store(store, tmp_path):
    pack(store, tmp_path / "all.h5")
    pack(open_store(tmp_path / "all.h5"), tmp_path / "again.h5")
    same(store, open_store(tmp_path / "again.h5"))
    pack(open_store(tmp_path / "all.h5"), tmp_path / "one.h5", repeats=0, split="train")
    pack(store, tmp_path / "other.h5", repeats=0, split="train")
    same(open_store(tmp_path / "one.h5"), open_store(tmp_path / "other.h5"))


def test_half_precision_and_rows_that_share_a_page(tmp_path):
    """Chunks of several blocks, in another order than they were written in."""
    with create_store(tmp_path / "x.store", {"a": 1}, 700, dtype="float16") as writer:
        for number in range(30, 0, -1):
            writer.add(f"{number:03d}", range(3), [0] * 3, np.full((3, 700), number / 7))
    store = open_store(tmp_path / "x.store")
    pack(store, tmp_path / "x.h5")
    same(store, open_store(tmp_path / "x.h5"))
    assert open_store(tmp_path / "x.h5").dtype == "float16"


def test_a_head_predicts_the_same_from_both(store, tmp_path):
    pack(store, tmp_path / "some.h5")
    found = []
    for source in (store, open_store(tmp_path / "some.h5")):
        bags = source.bags("train")
        head = make_pipeline(MeanPool(), LogisticRegression(max_iter=10**4)).fit(bags, bags.labels)
        found.append(head.predict_proba(source.bags("all")))
    np.testing.assert_array_equal(*found)


def test_any_hdf5_tool_reads_it(store, tmp_path):
    pack(store, tmp_path / "some.h5")
    packed = open_store(tmp_path / "some.h5")
    with h5py.File(packed.path, "r") as file:
        names = file["images/image"].asstr()[...][file["image"][...]]
        counts = np.isin(names, list(packed.usable()))
        found = sorted(zip(names[counts], file["blob"][counts], file["repeat"][counts], strict=True))
        assert found == [key.item() for key in packed.keys]
        assert file.attrs["fingerprint"] == store.fingerprint


def test_the_same_version_gives_the_same_file(store, tmp_path):
    for name in ("one.h5", "other.h5"):
        pack(store, tmp_path / name)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()


def test_nothing_to_pack(store, tmp_path, helpers):
    path = tmp_path / "empty.store"
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.register("broken.png", reason="unreadable")
    with pytest.raises(DataError, match=r"empty\.store: no embeddings to pack"):
        pack(open_store(path), tmp_path / "empty.h5")
    for wrong in ({"split": "validation"}, {"repeats": -1}):
        with pytest.raises(SettingError):
            pack(store, tmp_path / "some.h5", **wrong)
    assert not list(tmp_path.glob("*.h5"))


def test_a_target_that_is_there_is_replaced_whole_or_not_at_all(store, tmp_path, helpers):
    target = tmp_path / "some.h5"
    pack(store, target, repeats=0)
    before = target.read_bytes()
    source = store.state.read_segments()[0].embeddings
    helpers.flip(source.path, source.offset)
    with pytest.raises(StoreFormatError, match=source.path.name):
        pack(store, target)
    assert target.read_bytes() == before
    helpers.flip(source.path, source.offset)
    pack(store, target)
    assert target.read_bytes() != before
    assert {path.name for path in tmp_path.iterdir()} == {"some.store", "some.h5"}


def test_a_packed_store_is_not_written_over_itself(store, tmp_path):
    """What a part leaves out would be gone."""
    pack(store, tmp_path / "some.h5")
    (tmp_path / "link.h5").symlink_to(tmp_path / "some.h5")
    before = (tmp_path / "some.h5").read_bytes()
    for target in (tmp_path / "some.h5", tmp_path / "link.h5"):
        with pytest.raises(StoreWriteError, match=target.name):
            pack(open_store(tmp_path / "some.h5"), target, repeats=0)
    assert (tmp_path / "some.h5").read_bytes() == before


def test_places_where_no_file_can_be_written(store, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path, tmp_path / "nowhere" / "x.h5", tmp_path / "pipe"):
        with pytest.raises(StoreWriteError, match=str(target)):
            pack(store, target)
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_is_followed(store, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.h5").symlink_to(tmp_path / "folder" / "real.h5")
    pack(store, tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink()
    same(store, open_store(tmp_path / "folder" / "real.h5"))


def test_nothing_is_added_to_a_packed_store(store, tmp_path, helpers):
    pack(store, tmp_path / "some.h5")
    with pytest.raises(StoreFormatError, match=r"some\.h5.*featstore store merge"):
        create_store(tmp_path / "some.h5", helpers.recipe, helpers.dim)
    with pytest.raises(StoreFormatError, match=r"some\.h5: .*packed"):
        relabel(tmp_path / "some.h5", [NewLabel("img_0000.png", label="Z")])


def test_what_is_no_packed_store_is_refused(store, tmp_path):
    (segment, *_) = (store.path / "segments").iterdir()
    with pytest.raises(StoreFormatError, match=r"a segment of .* expected a store"):
        open_store(segment)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features"] = np.zeros(3)
    with pytest.raises(StoreFormatError, match=r"other\.h5: not a file that featstore wrote"):
        open_store(tmp_path / "other.h5")


def test_never_within_the_store(make_store):
    store = make_store(1)
    (segment,) = (store.path / "segments").iterdir()
    before = segment.read_bytes()
    with pytest.raises(StoreWriteError, match="in the store itself"):
        pack(store, segment)
    assert segment.read_bytes() == before
