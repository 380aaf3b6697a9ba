"""Tables, one row an embedding: .npz, Parquet, AnnData."""

from __future__ import annotations

import numpy as np
import pytest

from featstore.errors import DataError
from featstore.store import open_store
from featstore.store.exchange import import_embeddings

KINDS = ("npz", "parquet", "h5ad")


@pytest.fixture
def imported(make, tmp_path):
    """Write a file of some kind, import it, open the store."""

    def run(kind, options=None, **changes):
        path = tmp_path / f"table.{kind}"
        getattr(make, kind)(path, **changes)
        import_embeddings(path, tmp_path / "t.store", **(options or {}))
        return open_store(tmp_path / "t.store")

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_all_there_is(imported, make, kind):
    store = imported(kind)
    assert store.keys.tolist() == [(f"img_{row // 3}.png", row % 3, 0) for row in range(6)]
    assert np.array_equal(store.embeddings(), make.vectors(6))
    rows = store.images
    assert (rows["img_0.png"].label, rows["img_0.png"].split) == ("A", "train")
    assert (rows["img_1.png"].label, rows["img_1.png"].split) == (
        ("", "test") if kind == "h5ad" else ("B", "train")  # AnnData's missing value
    )
    assert store.recipe == {"encoder": {"name": "imported", "dim": make.dim}, "imported": {"version": 1}}


@pytest.mark.parametrize("kind", KINDS)
def test_without_blobs_rows_are_numbered_within_their_image(imported, kind):
    """Rows of one repeat are numbered in their order, so that a blob keeps its number over the repeats."""
    names = np.array(["b", "a", "b", "b", "a", "b"])
    repeats = np.array([0, 0, 0, 1, 0, 1])
    store = imported(kind, blob=None, image=names, repeat=repeats, label=None, split=None, group=None)
    assert store.keys.tolist() == [("a", 0, 0), ("a", 1, 0), ("b", 0, 0), ("b", 0, 1), ("b", 1, 0), ("b", 1, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_images_alone_are_enough(imported, kind):
    none = dict.fromkeys(("blob", "repeat", "label", "split", "group"))
    store = imported(kind, {"encoder": "mine", "split": "train"}, **none)
    assert store.keys["blob"].tolist() == [0, 1, 2, 0, 1, 2]
    assert {row.split for row in store.images.values()} == {"train"}
    assert store.recipe["encoder"]["name"] == "mine"


@pytest.mark.parametrize("kind", KINDS)
def test_other_names_of_columns(imported, kind):
    changes = {"image": None, "label": None, "slide_id": ["s"] * 6, "blob": np.arange(6), "tumour": [1] * 6}
    store = imported(kind, {"columns": {"image": "slide_id", "label": "tumour"}}, split=None, **changes)
    assert {(name, row.label) for name, row in store.images.items()} == {("s", "1")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["image", "label", "embeddings"])
def test_a_column_that_was_named_must_be_there(imported, kind, field):
    with pytest.raises(DataError, match=rf"table\.{kind}: no .*lable"):
        imported(kind, {"columns": {field: "lable"}})


@pytest.mark.parametrize("embeddings", ["fixed", "list", "columns"])
def test_parquet_in_three_ways(imported, make, embeddings):
    store = imported("parquet", embeddings=embeddings)
    assert np.array_equal(store.embeddings(), make.vectors(6))


def test_parquet_of_half_and_double_precision(imported, make):
    import pyarrow as pa

    values = pa.array(make.vectors(6).astype(np.float64).tolist(), pa.large_list(pa.float64()))
    assert np.array_equal(imported("parquet", embeddings=None, embedding=values).embeddings(), make.vectors(6))


def test_half_precision_stays(make, tmp_path):
    half = make.vectors(6).astype(np.float16)
    make.npz(tmp_path / "a.npz", embeddings=half)
    import_embeddings(tmp_path / "a.npz", tmp_path / "s.store")
    store = open_store(tmp_path / "s.store")
    assert store.dtype == "float16"
    assert np.array_equal(store.embeddings(), half.astype(np.float32))
    import_embeddings(tmp_path / "a.npz", tmp_path / "t.store", dtype="float32")
    make.npz(tmp_path / "b.npz", embeddings=half, image=np.array(["other"] * 6), blob=np.arange(6), label=None)
    import_embeddings(tmp_path / "b.npz", tmp_path / "t.store")
    assert (open_store(tmp_path / "t.store").dtype, len(open_store(tmp_path / "t.store"))) == ("float32", 12)


@pytest.mark.parametrize("kind", ["int64", ">f4", "float64"])
def test_npz_of_other_numbers(imported, kind):
    values = np.arange(48).reshape(6, 8).astype(kind)
    assert np.array_equal(imported("npz", embeddings=values).embeddings(), np.arange(48).reshape(6, 8))


def test_npz_compressed_and_with_text_as_bytes(imported, make):
    names = np.array(["ä".encode(), b"b"]).repeat(3)
    store = imported("npz", compressed=True, image=names, label=None)
    assert sorted(store.images) == ["b", "ä"]


def test_npz_in_pieces(make, tmp_path, monkeypatch):
    from featstore.store.exchange import foreign
    from featstore.store.exchange.batches import Options, Source
    from featstore.store.exchange.read_npz import read_npz

    monkeypatch.setattr(foreign, "BUDGET", 400)
    make.npz(tmp_path / "a.npz", 100, compressed=True)
    batches = list(read_npz(Source(tmp_path / "a.npz", ""), Options()))
    assert len(batches) > 30
    assert np.array_equal(np.concatenate([batch.embeddings for batch in batches]), make.vectors(100))
    assert np.concatenate([batch.blob for batch in batches]).tolist() == [row % 3 for row in range(100)]


def test_anndata_with_embeddings_in_obsm(imported, make):
    options = {"columns": {"embeddings": "X_uni"}}
    other = make.vectors(6, seed=3)
    store = imported("h5ad", options, obsm={"X_uni": other}, matrix=np.zeros((6, 2), dtype=np.float32))
    assert np.array_equal(store.embeddings(), other)


def test_anndata_with_names_of_observations_for_images(imported):
    store = imported("h5ad", image=None, blob=None, label=None, split=None, index=[f"c{row}" for row in range(6)])
    assert store.keys.tolist() == [(f"c{row}", 0, 0) for row in range(6)]


def test_anndata_with_nullable_columns(imported):
    import pandas as pd

    blobs = pd.array([0, 1, 2, 0, 1, 2], dtype="Int64")
    store = imported("h5ad", blob=blobs, label=pd.array(["A"] * 3 + [None] * 3, dtype="string"))
    assert [row.label for row in store.images.values()] == ["A", ""]


def test_anndata_that_is_sparse(imported):
    from scipy.sparse import csr_matrix

    with pytest.raises(DataError, match=r"X is no dense array.*toarray"):
        imported("h5ad", matrix=csr_matrix(np.eye(6, dtype=np.float32)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": np.array(list("AABBBB"))}, "label of image 'img_0.png' is 'A' in one row and 'B' in another"),
        ({"split": np.array(["valid"] * 6)}, "split is 'valid'; expected train or test"),
        ({"blob": np.array([0, 0, 1, 0, 1, 2])}, "given twice"),
        ({"blob": np.array([0, -1, 1, 0, 1, 2])}, "blob is -1 in row 1"),
        ({"blob": np.array([0, 2**31, 1, 0, 1, 2])}, "blob is 2147483648 in row 1"),
        ({"blob": np.array([0, 0.5, 1, 0, 1, 2])}, "blob holds (float64|double)"),
        ({"repeat": np.array([1, 1, 1, 0, 0, 0])}, "'img_0.png' has augmented repeats only"),
        ({"image": np.array(["a", "", "a", "a", "a", "a"]), "label": None, "blob": None}, "image is ''"),
        ({"image": np.array(["a\0b"] * 6), "label": None, "blob": None}, "no text"),
        ({"image": np.array([1.5] * 6)}, "image holds (float64|object)"),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_tables_that_contradict_themselves(imported, tmp_path, kind, changes, words):
    with pytest.raises(DataError, match=rf"table\.{kind}: .*{words}"):
        imported(kind, **changes)
    assert not (tmp_path / "t.store" / "versions").exists()


def test_names_of_columns_for_embeddings(imported, make):
    numbers = {f"dim_{number}": make.vectors(6)[:, number] for number in range(make.dim)}
    store = imported("parquet", embeddings=None, **numbers, patient_0=["p"] * 6)
    assert np.array_equal(store.embeddings(), make.vectors(6))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "no columns of embeddings among image, blob"),
        ({"e0": [1.0] * 6, "f0": [1.0] * 6}, "several columns of embeddings"),
        ({"e1": [1.0] * 6, "e2": [1.0] * 6}, "no columns of embeddings"),
        ({"embedding": [1.0] * 6}, "column 'embedding' holds double"),
        ({"embedding": [[1.0, 2.0]] * 5 + [[1.0]]}, "embeddings of 1 to 2 numbers"),
        ({"embedding": [[1.0, 2.0]] * 5 + [None]}, "an embedding is missing"),
        ({"embedding": [[1.0, 2.0]] * 5 + [[1.0, None]]}, "an embedding is missing"),
        ({"embedding": [["a", "b"]] * 6}, "embeddings holds object"),
        ({"embedding": [[]] * 6}, "embeddings"),
    ],
)
def test_parquet_without_usable_embeddings(imported, changes, words):
    with pytest.raises(DataError, match=words):
        imported("parquet", embeddings=None, **changes)


def test_an_image_of_several_files_is_numbered_on(make, tmp_path):
    none = dict.fromkeys(("blob", "repeat", "label", "split", "group"))
    (tmp_path / "in").mkdir()
    for part in ("p0", "p1"):
        make.npz(tmp_path / "in" / f"{part}.npz", image=np.array(["a"] * 6), **none)
    import_embeddings(tmp_path / "in", tmp_path / "s.store")
    assert open_store(tmp_path / "s.store").keys["blob"].tolist() == list(range(12))
