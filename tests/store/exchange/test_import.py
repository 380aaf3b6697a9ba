"""Importing into a store: what makes a recipe, appending, which files are meant, and nothing half-done."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from featstore.errors import DataError, MissingExtraError, RecipeMismatchError, SettingError
from featstore.recipe import fingerprint
from featstore.store import NewLabel, create_store, open_store, relabel, verify
from featstore.store.exchange import import_embeddings, importing
from featstore.store.exchange.sources import FORMATS, find_sources


def test_formats_do_not_matter_for_the_recipe(make, tmp_path):
    """Two imports from one encoder are one recipe: they can be appended and merged."""
    prints = set()
    for kind in ("npz", "parquet", "h5ad"):
        getattr(make, kind)(tmp_path / f"{kind}.{kind}", image=[f"{kind} {row}" for row in range(6)], label=None)
        prints.add(import_embeddings(tmp_path / f"{kind}.{kind}", tmp_path / "s.store", encoder="uni2").fingerprint)
    store = open_store(tmp_path / "s.store")
    assert prints == {store.fingerprint} == {fingerprint(store.recipe)}
    assert (store.version, len(store.images), len(store)) == (3, 18, 18)
    assert verify(tmp_path / "s.store").ok


def test_the_log_says_what_was_imported_and_nothing_of_paths(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store")
    entry = next(open_store(tmp_path / "s.store").log())
    assert entry["operation"] == "import"
    assert entry["how"] == {"import": {"format": "npz", "files": 1}}
    assert str(tmp_path) not in json.dumps(entry)


def test_keys_that_are_there_are_named(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store")
    with pytest.raises(DataError, match=r"a\.npz: .*image 'img_0\.png', blob 0, repeat 0.* is there already"):
        import_embeddings(tmp_path / "a.npz", tmp_path / "s.store")
    assert open_store(tmp_path / "s.store").version == 1


def test_another_encoder_is_refused(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store", encoder="uni")
    with pytest.raises(RecipeMismatchError, match=r"encoder\.name is 'uni', asked for 'uni2'"):
        import_embeddings(tmp_path / "a.npz", tmp_path / "s.store", encoder="uni2")


def test_single_precision_is_not_halved_unasked(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store", dtype="float16")
    make.npz(tmp_path / "b.npz", image=np.array(["b"] * 6), blob=np.arange(6), label=None)
    with pytest.raises(RecipeMismatchError, match="float16"):
        import_embeddings(tmp_path / "b.npz", tmp_path / "s.store")


def test_labels_given_in_the_store_stay(make, tmp_path):
    none = dict.fromkeys(("repeat", "label", "split", "group"))
    make.npz(tmp_path / "a.npz", **none)
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store")
    relabel(tmp_path / "s.store", [NewLabel("img_0.png", label="Z", group="p")])
    make.npz(tmp_path / "b.npz", **{**none, "repeat": np.ones(6, dtype=int)})
    import_embeddings(tmp_path / "b.npz", tmp_path / "s.store")
    row = open_store(tmp_path / "s.store").images["img_0.png"]
    assert (row.label, row.split, row.group) == ("Z", "train", "p")
    assert open_store(tmp_path / "s.store").repeats == [0, 1]


def test_what_fails_leaves_the_store_as_it_was(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store")
    (tmp_path / "in").mkdir()
    make.npz(tmp_path / "in" / "b.npz", image=np.array(["b"] * 6), blob=np.arange(6), label=None)
    spoilt = make.vectors(6)
    spoilt[5, 5] = np.nan
    make.npz(tmp_path / "in" / "c.npz", image=np.array(["c"] * 6), blob=np.arange(6), embeddings=spoilt, label=None)
    with pytest.raises(DataError, match=r"c\.npz: image 'c': an embedding is not finite"):
        import_embeddings(tmp_path / "in", tmp_path / "s.store")
    store = open_store(tmp_path / "s.store")
    assert (store.version, list(store.images)) == (1, ["img_0.png", "img_1.png"])


def test_files_of_other_lengths_are_found_before_anything_is_written(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    make.npz(tmp_path / "b.npz", embeddings=make.vectors(6, dim=5))
    with pytest.raises(DataError, match=r"b\.npz: dim is 5, in .*a\.npz 8"):
        import_embeddings([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "s.store")
    assert not (tmp_path / "s.store").exists()


def test_progress_is_told(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    told = []
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store", progress=lambda done, of: told.append((done, of)))
    assert told == [(3, 6), (6, 6)]


def test_a_recipe_is_kept_only_where_there_is_one(make, make_store, tmp_path):
    make.npz(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz: carries no recipe"):
        import_embeddings(tmp_path / "a.npz", tmp_path / "s.store", keep_recipe=True)


def test_names_of_images_and_their_order(make, tmp_path):
    """What predictions call an image, from a column of any name; images come behind those in the store."""
    make.npz(tmp_path / "a.npz")
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store")
    indices = np.array([f"number {row // 3}" for row in range(6)])
    make.npz(tmp_path / "b.npz", image=np.array([f"b{row // 3}" for row in range(6)]), slide=indices)
    import_embeddings(tmp_path / "b.npz", tmp_path / "s.store", columns={"sample_index": "slide"})
    rows = open_store(tmp_path / "s.store").images.values()
    assert [row.sample_index for row in rows] == ["img_0.png", "img_1.png", "number 0", "number 1"]
    assert [(row.position, row.blobs) for row in rows] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_which_files_are_meant(tmp_path):
    for name in ("b.parquet", "a.PQ", "note.txt", ".hidden.pq"):
        (tmp_path / name).write_bytes(b"")
    chosen, found = find_sources([tmp_path])
    assert (chosen.name, [source.path.name for source in found]) == ("parquet", ["a.PQ", "b.parquet"])
    (tmp_path / "c.h5").write_bytes(b"")
    with pytest.raises(DataError, match="several formats: parquet, slides"):
        find_sources([tmp_path])
    assert [source.path.name for source in find_sources([tmp_path], "slides")[1]] == ["c.h5"]
    assert find_sources([tmp_path / "note.txt"], "npz")[0].name == "npz"


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "no files"),
        (["nothing.npz"], "nothing.npz: not there"),
        (["note.txt"], "doesn't tell its format.*--format npz or slides or parquet or h5ad"),
        (["empty"], "empty: nothing to import"),
        (["pipe.npz"], "pipe.npz: not a file"),
    ],
)
def test_what_is_no_file_to_import(tmp_path, sources, words):
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(DataError, match=words):
        import_embeddings([tmp_path / name for name in sources], tmp_path / "s.store")


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "csv"},
        {"columns": {"lable": "x"}},
        {"tile_px": 0},
        {"dtype": "int8"},
        {"dtype": "float64"},
        {"encoder": "x", "keep_recipe": True},
    ],
)
def test_wrong_settings(make, tmp_path, wrong):
    make.npz(tmp_path / "a.npz")
    with pytest.raises(SettingError):
        import_embeddings(tmp_path / "a.npz", tmp_path / "s.store", **wrong)


def test_a_wrong_default_split_is_named(make, tmp_path):
    make.npz(tmp_path / "a.npz", split=None)
    with pytest.raises(DataError, match="split is 'validation'"):
        import_embeddings(tmp_path / "a.npz", tmp_path / "s.store", split="validation")


def test_a_store_of_other_things_is_left_alone(make, tmp_path):
    with create_store(tmp_path / "s.store", {"encoder": "x"}, make.dim) as writer:
        writer.add("a", [0], [0], make.vectors(1))
    make.npz(tmp_path / "a.npz")
    with pytest.raises(RecipeMismatchError, match="another recipe"):
        import_embeddings(tmp_path / "a.npz", tmp_path / "s.store")


@pytest.mark.parametrize(("kind", "package"), [("parquet", "pyarrow"), ("h5ad", "anndata")])
def test_a_missing_extra_is_named(make, tmp_path, monkeypatch, kind, package):
    from featstore.store.exchange.batches import Options, Source

    path = tmp_path / f"a.{kind}"
    getattr(make, kind)(path)
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=rf"need {package}.*pip install '\.\[exchange\]'"):
        FORMATS[kind].header(Source(path, ""), Options())


def test_importing_the_package_loads_no_extra():
    probe = (
        "import sys, featstore.store.exchange; print([n for n in ('pyarrow', 'anndata', 'pandas') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_sample_index_of_each_row_is_not_one_of_images(tmp_path):
    """Other people's columns of that name are not ours; files of before, which have none, go with those of now."""
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.savez(tmp_path / "rows.npz", embeddings=rows, image=list("aabb"), sample_index=list("0123"))
    import_embeddings(tmp_path / "rows.npz", tmp_path / "rows.store", encoder="e")
    assert {row.sample_index for row in open_store(tmp_path / "rows.store").images.values()} == {"a", "b"}
    (tmp_path / "two").mkdir()
    np.savez(tmp_path / "two/1.npz", embeddings=rows[:2], image=["a", "a"], blob=[0, 1], sample_index=["s", "s"])
    np.savez(tmp_path / "two/2.npz", embeddings=rows[2:], image=["a", "a"], blob=[2, 3])
    import_embeddings(tmp_path / "two", tmp_path / "two.store", encoder="e")
    store = open_store(tmp_path / "two.store")
    assert (len(store), store.images["a"].sample_index) == (4, "s")


def test_an_import_beside_another_keeps_what_that_one_said(tmp_path, monkeypatch):
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.savez(tmp_path / "1.npz", embeddings=rows[:1], image=["x"], blob=[0])
    target = tmp_path / "x.store"
    add = importing._Import.add

    def meanwhile(self, batch, source):
        add(self, batch, source)
        monkeypatch.setattr(importing._Import, "add", add)
        with create_store(target, self.writer._base.recipe, 2) as other:
            other.add("x", [1, 2, 3], [0, 0, 0], rows[1:], label="t", group="g")

    monkeypatch.setattr(importing._Import, "add", meanwhile)
    import_embeddings(tmp_path / "1.npz", target, encoder="e")
    row = open_store(target).images["x"]
    assert (row.label, row.split, row.group, row.blobs) == ("t", "train", "g", 4)
    assert len(open_store(target)) == 4
