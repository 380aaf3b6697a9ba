"""Exports, read by the libraries that others read them with, and imported again."""

from __future__ import annotations

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.errors import DataError, SettingError, StoreWriteError
from featstore.store import create_store, open_store, pack
from featstore.store.exchange import export_embeddings, import_embeddings, selection
from featstore.store.exchange.write_clam import file_names

TARGETS = ("all.h5ad", "all.parquet", "all.npz", "all")


def facts_of(store):
    return {name: (row.sample_index, row.label, row.split, row.group, row.blobs) for name, row in store.images.items()}


@pytest.mark.parametrize("budget", [None, 100])
@pytest.mark.parametrize("target", TARGETS)
def test_there_and_back(make_store, tmp_path, monkeypatch, target, budget):
    """Keys, embeddings bit for bit, names, labels, splits, groups and boxes; with small pieces too."""
    if budget:
        monkeypatch.setattr(selection, "BUDGET", budget)
    store = make_store()
    report = export_embeddings(store, tmp_path / target)
    assert (report.images, report.embeddings, report.version) == (5, 15, 1)
    import_embeddings(tmp_path / target, tmp_path / "b.store", keep_recipe=True)
    again = open_store(tmp_path / "b.store")
    assert again.fingerprint == store.fingerprint
    assert again.keys.tolist() == store.keys.tolist()
    assert again.embeddings().tobytes() == store.embeddings().tobytes()
    assert facts_of(again) == facts_of(store)
    assert again.blobs.tolist() == store.blobs.tolist()


@pytest.mark.parametrize("target", TARGETS)
def test_scales_there_and_back(tmp_path, target):
    boxes = [[0, 90, 0, 0, 9, 10, 1, 0], [1, 90, 0, 0, 20, 20, 2, 0], [2, 50, 0, 0, 9, 9, 0, 0]]
    with create_store(tmp_path / "a.store", {"encoder": {"name": "made-up"}}, 4) as writer:
        for name in ("a.png", "b.png"):
            writer.add(name, [0, 1, 2], [0, 0, 0], np.ones((3, 4)), label="A", boxes=boxes)
        writer.add("c.png", [0], [0], np.ones((1, 4)), label="B")
    store = open_store(tmp_path / "a.store")
    export_embeddings(store, tmp_path / target)
    import_embeddings(tmp_path / target, tmp_path / "b.store", keep_recipe=True)
    again = open_store(tmp_path / "b.store")
    assert again.blobs.tolist() == store.blobs.tolist()
    assert again.bags().scales == store.bags().scales == [1, 2, 0]


@pytest.mark.parametrize("target", TARGETS)
def test_without_its_recipe_an_export_is_an_import_like_others(make_store, tmp_path, target):
    """Somebody may have changed the numbers since: the recipe then says no more than the encoder's name."""
    export_embeddings(make_store(), tmp_path / target)
    import_embeddings(tmp_path / target, tmp_path / "b.store")
    first = open_store(tmp_path / "b.store")
    assert first.recipe == {"encoder": {"name": "made-up", "dim": 8}, "imported": {"version": 1}}
    export_embeddings(first, tmp_path / f"again_{target}")
    report = import_embeddings(tmp_path / f"again_{target}", tmp_path / "c.store")
    assert report.fingerprint == first.fingerprint


@pytest.mark.parametrize("target", TARGETS)
def test_half_precision(make_store, tmp_path, target):
    store = make_store(dtype="float16")
    export_embeddings(store, tmp_path / target)
    import_embeddings(tmp_path / target, tmp_path / "b.store", dtype="float16", keep_recipe=True)
    assert open_store(tmp_path / "b.store").embeddings().tobytes() == store.embeddings().tobytes()


@pytest.mark.parametrize("target", TARGETS)
def test_parts_of_a_store(make_store, tmp_path, target):
    store = make_store()
    report = export_embeddings(store, tmp_path / target, repeats=0, split="train")
    assert (report.images, report.embeddings) == (4, 8)
    import_embeddings(tmp_path / target, tmp_path / "b.store")
    part = open_store(tmp_path / "b.store")
    assert part.keys.tolist() == [key for key in store.keys.tolist() if key[0] != "train_data/a.png" and not key[2]]
    assert np.array_equal(part.embeddings(), store.embeddings(repeats=[0], images=list(store.usable("train"))))


def test_anndata_reads_it(make_store, tmp_path):
    import anndata

    store = make_store()
    export_embeddings(store, tmp_path / "a.h5ad")
    for backed in (None, "r"):
        adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed=backed)
        assert np.array_equal(adata.X[:], store.embeddings())
        assert adata.obs_names[0] == f"{store.keys['image'][0]}:0:0"
        assert adata.obs["image"].tolist() == store.keys["image"].tolist()
        assert adata.obs["label"].cat.categories.tolist() == ["A", "B"]
        assert adata.obs["label"].isna().sum() == 3
        assert adata.obs["split"].value_counts().to_dict() == {"train": 12, "test": 3}
        assert adata.obs["repeat"].tolist() == store.keys["repeat"].tolist()
        note = json.loads(adata.uns["featstore"])
        assert (note["fingerprint"], note["recipe"], note["version"]) == (store.fingerprint, store.recipe, 1)
        if backed:
            adata.file.close()


def test_columns_are_there_whether_images_fill_them_or_not(make, tmp_path):
    import anndata

    with create_store(tmp_path / "s.store", make.recipe, make.dim) as writer:
        writer.add("a", [0], [0], make.vectors(1))
    export_embeddings(open_store(tmp_path / "s.store"), tmp_path / "a.h5ad")
    columns = ["image", "blob", "repeat", "sample_index", "label", "split", "group"]
    obs = anndata.read_h5ad(tmp_path / "a.h5ad").obs
    assert obs.columns.tolist() == columns
    assert obs[["label", "group"]].isna().all(axis=None)
    import_embeddings(tmp_path / "a.h5ad", tmp_path / "b.store")
    row = open_store(tmp_path / "b.store").images["a"]
    assert (row.sample_index, row.label, row.split, row.group) == ("a", "", "train", "")


def test_pandas_and_pyarrow_read_it(make_store, tmp_path):
    import pandas as pd
    import pyarrow.parquet as pq

    store = make_store()
    export_embeddings(store, tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert frame["image"].tolist() == store.keys["image"].tolist()
    assert np.array_equal(np.stack(frame["embedding"]), store.embeddings())
    assert frame["label"].isna().sum() == 3
    table = pq.read_table(tmp_path / "a.parquet", filters=[("split", "==", "test")])
    assert table.num_rows == 3
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[8]"
    assert json.loads(table.schema.metadata[b"featstore"])["fingerprint"] == store.fingerprint


def test_numpy_reads_it(make_store, tmp_path):
    store = make_store()
    export_embeddings(store, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["embeddings"], store.embeddings())
        for name in ("image", "blob", "repeat"):
            assert arrays[name].tolist() == store.keys[name].tolist()
        assert arrays["label"].tolist() == [store.images[name].label for name in arrays["image"].tolist()]
        assert set(arrays) == {
            *("embeddings", "image", "blob", "repeat", "sample_index", "label", "split", "group", "featstore"),
            *("area_px", "x0", "y0", "x1", "y1"),
        }


def test_a_loop_in_the_way_of_clam_reads_it(make_store, tmp_path):
    store = make_store()
    export_embeddings(store, tmp_path / "files", repeats=0)
    listed = json.loads((tmp_path / "files/featstore.json").read_text())["files"]
    assert {path.name for path in (tmp_path / "files").iterdir()} == {*listed, "featstore.json"}
    for name, image in listed.items():
        with h5py.File(tmp_path / "files" / name, "r") as file:
            features, coords = file["features"][:], file["coords"][:]
            assert file.attrs["image"] == image
            assert file.attrs["label"] == store.images[image].label
            assert file.attrs["sample_index"] == store.images[image].sample_index
            assert file["boxes"].attrs["columns"] == "area_px,x0,y0,x1,y1"
        assert np.array_equal(features, store.embeddings(images=[image], repeats=[0]))
        known = {row["blob"]: (row["x0"], row["y0"]) for row in store.blobs if row["image"] == image}
        assert [tuple(corner) for corner in coords.tolist()] == [known.get(0, (0, 0)), known.get(3, (0, 0))]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), unique=True))
def test_names_of_files_are_safe_and_their_own(images):
    names = file_names(images)
    assert list(names) == images
    for name in names.values():
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~%")
        assert not name.startswith(".")
        assert len(name) < 200
    assert len({name.casefold() for name in names.values()}) == len(images)


def test_names_of_files_can_be_read():
    assert file_names(["train_data/img_0000.png", "..", "a", "A"]) == {
        "train_data/img_0000.png": "train_data%2Fimg_0000.png.h5",
        "..": "%2E..h5",
        "a": "a.h5",
        "A": "A~559aead08264d579.h5",
    }


def test_nothing_is_written_outside_the_folder(make_store, tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    store = make_store(names=["../../../x", "/etc/x", "..", ".", "a/../../b", "C:\\x"])
    before = sorted(path for path in tmp_path.rglob("*") if "some.store" not in path.parts)
    export_embeddings(store, tmp_path / "deep/er/out")
    new = {path for path in tmp_path.rglob("*") if "some.store" not in path.parts} - set(before)
    assert {path.parent for path in new} == {tmp_path / "deep/er", tmp_path / "deep/er/out"}


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_there_is_replaced_on_purpose_only(make_store, tmp_path, target):
    store = make_store()
    export_embeddings(store, tmp_path / target)
    with pytest.raises(StoreWriteError, match=r"there already.*--overwrite"):
        export_embeddings(store, tmp_path / target, repeats=0)
    report = export_embeddings(store, tmp_path / target, repeats=0, overwrite=True)
    assert import_embeddings(tmp_path / target, tmp_path / "b.store").embeddings == report.embeddings == 10
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]


def test_a_folder_with_other_things_is_never_replaced(make_store, tmp_path):
    store = make_store()
    export_embeddings(store, tmp_path / "out")
    (tmp_path / "out" / "my_model.pt").write_bytes(b"x")
    with pytest.raises(StoreWriteError, match=r"holds 'my_model\.pt'"):
        export_embeddings(store, tmp_path / "out", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.h5").write_bytes(b"x")
    with pytest.raises(StoreWriteError, match=r"holds 'a\.h5'"):
        export_embeddings(store, tmp_path / "mine", overwrite=True)
    (tmp_path / "empty").mkdir()
    assert export_embeddings(store, tmp_path / "empty").format == "clam"


@pytest.mark.parametrize("target", ["x.npz", "sub/x", "."])
def test_the_store_itself_is_no_target(make_store, target):
    store = make_store()
    with pytest.raises(StoreWriteError, match="in the store itself"):
        export_embeddings(store, store.path / target, format="npz", overwrite=True)


@pytest.mark.parametrize("target", TARGETS)
def test_a_write_that_fails_leaves_nothing(make_store, tmp_path, monkeypatch, target):
    store = make_store()

    def full(rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "take", full)
    with pytest.raises(StoreWriteError, match="no space left"):
        export_embeddings(store, tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["some.store"]


FULL = """
import resource, signal, sys
from featstore.store import open_store
from featstore.store.exchange import export_embeddings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    export_embeddings(open_store(sys.argv[1]), sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("target", TARGETS)
def test_a_disk_that_is_full(make, tmp_path, target):
    """A limit to the size of files, in a process of its own, stands for the disk."""
    with create_store(tmp_path / "s.store", make.recipe, make.dim) as writer:
        writer.add("a", range(5000), [0] * 5000, make.vectors(5000))
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-W", "error", "-c", FULL, str(tmp_path / "s.store"), str(tmp_path / "out" / target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"StoreWriteError {tmp_path / 'out' / target}")
    assert "no space left" in done.stdout
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_without_its_folder(make_store, tmp_path, target):
    with pytest.raises(StoreWriteError, match="its folder is not there"):
        export_embeddings(make_store(), tmp_path / "nowhere" / target)


@pytest.mark.parametrize("wrong", [{"format": "csv"}, {"split": "valid"}, {"repeats": -1}])
def test_wrong_settings(make_store, tmp_path, wrong):
    with pytest.raises(SettingError):
        export_embeddings(make_store(), tmp_path / "a.npz", **wrong)


def test_a_name_that_tells_no_format(make_store, tmp_path):
    with pytest.raises(SettingError, match=r"--format h5ad or npz or parquet or clam"):
        export_embeddings(make_store(), tmp_path / "a.h5")
    assert export_embeddings(make_store(tmp_path / "b.store"), tmp_path / "a.h5", format="npz").format == "npz"


def test_nothing_to_export(make_store, tmp_path):
    with pytest.raises(DataError, match="no embeddings in split 'test'"):
        export_embeddings(make_store(names=[]), tmp_path / "a.npz", split="test")


def test_a_link_is_not_replaced_unasked(make_store, tmp_path):
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    with pytest.raises(StoreWriteError, match="there already"):
        export_embeddings(make_store(), tmp_path / "link.npz")
    export_embeddings(open_store(tmp_path / "some.store"), tmp_path / "link.npz", overwrite=True)
    assert (tmp_path / "link.npz").readlink() == tmp_path / "real.npz"
    assert (tmp_path / "real.npz").is_file()


def test_a_packed_store_is_exported_alike(make_store, tmp_path):
    store = make_store()
    pack(store, tmp_path / "p.h5")
    export_embeddings(open_store(tmp_path / "p.h5"), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.array_equal(arrays["embeddings"], store.embeddings())
    with pytest.raises(StoreWriteError, match="in the store itself"):
        export_embeddings(open_store(tmp_path / "p.h5"), tmp_path / "p.h5", format="npz", overwrite=True)
