"""Reading a store: subsets, bags, information, history."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from featstore.errors import DataError, SettingError, StoreFormatError, StoreNotFoundError
from featstore.store import create_store, open_store


def test_subsets(make_store, helpers):
    store = make_store(5)
    assert store.embeddings(repeats=[0]).shape == (10, helpers.dim)
    assert store.embeddings(blobs=[1], repeats=[1]).shape == (5, helpers.dim)
    one = store.embeddings(images=["img_0003.png"])
    np.testing.assert_array_equal(one[:, 0], [300, 301, 310, 311])
    assert store.embeddings(repeats=[9]).shape == (0, helpers.dim)
    with pytest.raises(DataError, match=r"nobody\.png.*such as 'img_0000\.png'"):
        store.embeddings(images=["nobody.png"])


def test_subsets_may_be_any_iterable(make_store):
    store = make_store(5)
    for repeats, blobs in (({0}, range(1)), (iter([0]), np.array([0])), ((0,), {0: "x"}.keys())):
        assert len(store.embeddings(repeats=repeats, images=iter(["img_0003.png"]), blobs=blobs)) == 1
    assert len(store.embeddings(repeats=[], blobs=set())) == 0


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ({"repeats": 0}, r"repeats of shape \(\), int64; expected a list of whole numbers"),
        ({"repeats": [0.0]}, "repeats of shape .*float64"),
        ({"blobs": "0"}, "blobs of shape"),
        ({"blobs": [[0]]}, "blobs of shape"),
        ({"repeats": [[0], [1, 2]]}, r"repeats is \[\[0\], \[1, 2\]\]"),
        ({"images": "img_0000.png"}, "images is 'img_0000.png'; expected a list of names"),
        ({"images": 0}, "images is 0"),
        ({"images": [0, "img_0000.png"]}, "expected a list of names"),
    ],
)
def test_what_is_no_subset_is_refused(make_store, subset, message):
    with pytest.raises(SettingError, match=message):
        make_store(2).embeddings(**subset)


def test_keys_are_a_structured_array(make_store):
    keys = make_store(2).keys
    assert keys.dtype.names == ("image", "blob", "repeat")
    assert keys[0].item() == ("img_0000.png", 0, 0)


def test_labels_and_groups_are_text(make_store):
    store = make_store(4)
    for given in ({"labels": {"img_0000.png": 0}}, {"groups": {"img_0000.png": 7}}):
        with pytest.raises(SettingError, match="no text"):
            store.bags(**given)


@pytest.mark.parametrize("version", ["1", 1.0, True])
def test_a_version_is_a_number(make_store, version):
    with pytest.raises(SettingError, match="version is"):
        open_store(make_store(1).path, version=version)


def test_a_path_that_can_be_none():
    with pytest.raises(StoreNotFoundError, match="no path"):
        open_store("a\0b")


def test_bags_of_a_split(make_store, helpers, tmp_path):
    path = tmp_path / "x.store"
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        helpers.add_image(writer, 0, label="A", group="p1")
        helpers.add_image(writer, 1, label="B", group="p1")
        helpers.add_image(writer, 2)
        helpers.add_image(writer, 3, split="test")
        writer.register("rejected.png", reason="unreadable", note="why", label="A")
    store = open_store(path)
    bags = store.bags()
    assert bags.images.tolist() == ["img_0000.png", "img_0001.png"]
    assert bags.labels.tolist() == ["A", "B"]
    assert bags.groups.tolist() == ["p1", "p1"]
    assert bags.provenance == {"fingerprint": store.fingerprint, "version": 1}
    assert len(store.bags("train", labelled=False)) == 3
    assert store.bags("test").images.tolist() == ["img_0003.png"]
    assert len(store.bags("all")) == 4
    assert store.bags(repeats=0).repeats == [0]
    assert store.bags(labels={"img_0002.png": "C"}).labels.tolist() == ["C"]
    with pytest.raises(SettingError, match=r"7 repeats asked for, 1 stored.*--repeats 7"):
        store.bags(repeats=7)
    for wrong in (-1, [0, 1], "1", True):
        with pytest.raises(SettingError, match="expected a number, 0 or more"):
            store.bags(repeats=wrong)
    with pytest.raises(SettingError, match="split is 'validation'"):
        store.bags("validation")
    info = store.info()
    assert (info["images"], info["left_out"], info["blobs"], info["embeddings"]) == (4, 1, 8, 16)
    assert info["splits"] == {"test": 1, "train": 3}
    assert info["classes"] == {"A": 1, "B": 1}
    assert info["recipe"] == helpers.recipe


def test_history_over_many_versions(helpers, tmp_path):
    """Every version can be opened, and names few tables however many came before it."""
    path, count = tmp_path / "x.store", 70
    for number in range(count):
        with create_store(path, helpers.recipe, helpers.dim, operation=f"step {number}") as writer:
            helpers.add_image(writer, number, blobs=1, repeats=(0,))
    for number in (1, 2, 3, 31, 32, 33, count):
        store = open_store(path, version=number)
        assert (store.version, len(store), len(store.images)) == (number, number, number)
        assert len(store.state.tables) <= 7
    log = list(open_store(path).log())
    assert [entry["version"] for entry in log] == list(range(count, 0, -1))
    assert log[0]["operation"] == f"step {count - 1}"
    assert log[0]["added"] == {"rows": 1, "images": 1}


def test_nothing_there(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"no store there.*featstore extract"):
        open_store(tmp_path / "x.store")
    with pytest.raises(StoreNotFoundError, match="holds no version"):
        open_store(tmp_path)


def test_no_such_version(make_store):
    store = make_store(1)
    with pytest.raises(StoreNotFoundError, match="no version 5; expected 1 to 1"):
        open_store(store.path, version=5)


def test_a_segment_is_plain_hdf5(make_store):
    """Any HDF5 tool reads a segment; nothing in it is an object, and embeddings are contiguous."""
    store = make_store(3)
    (path,) = (store.path / "segments").iterdir()
    with h5py.File(path, "r") as file:
        assert file.attrs["fingerprint"] == store.fingerprint
        assert file["embeddings"].chunks is None
        assert file["images/image"][file["image"][5]] == b"img_0001.png"
        kinds = []
        file.visititems(lambda name, item: kinds.append(item.dtype.kind) if isinstance(item, h5py.Dataset) else None)
        assert set(kinds) == {"f", "i", "u", "S"}
        np.testing.assert_array_equal(file["embeddings"][...], store.embeddings())


def _damage_version(path):
    return path / "versions" / "00000001.json"


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[]", b'{"format": 1}', b'{"format": 1, "sha256": "x", "body": {}}']
)
def test_a_damaged_version_is_named(make_store, content):
    store = make_store(1)
    file = _damage_version(store.path)
    file.write_bytes(content)
    with pytest.raises(StoreFormatError, match=r"00000001\.json"):
        open_store(store.path)


def test_a_flipped_letter_and_a_later_format_are_named(make_store):
    store = make_store(1)
    file = _damage_version(store.path)
    text = file.read_text()
    file.write_text(text.replace('"dim": 6', '"dim": 7'))
    with pytest.raises(StoreFormatError, match="checksum"):
        open_store(store.path)
    file.write_text(text.replace('"format": 1', '"format": 99'))
    with pytest.raises(StoreFormatError, match=r"format 99.*newer featstore"):
        open_store(store.path)


def test_a_missing_truncated_or_foreign_segment_is_named(make_store, tmp_path):
    store = make_store(2)
    (path,) = (store.path / "segments").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(StoreFormatError, match=rf"{path.name}.*bytes"):
        len(open_store(store.path))
    path.write_bytes(b"\0" * len(content))
    with pytest.raises(StoreFormatError, match=path.name):
        len(open_store(store.path))
    path.unlink()
    with pytest.raises(StoreFormatError, match=path.name):
        len(open_store(store.path))


def test_litter_is_ignored(make_store):
    store = make_store(2)
    (store.path / "segments" / ".tmp-123").write_bytes(b"half a segment")
    (store.path / "segments" / "0123.h5").write_bytes(b"never committed")
    (store.path / "versions" / ".tmp-456").write_bytes(b"half a version")
    np.testing.assert_array_equal(open_store(store.path).keys, store.keys)
