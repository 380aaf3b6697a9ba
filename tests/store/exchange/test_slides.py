"""One HDF5 file a slide, in the layouts of CLAM, TRIDENT and STAMP."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from featstore.errors import DataError
from featstore.store import open_store, pack
from featstore.store.exchange import export_embeddings, import_embeddings


def boxes_of(store) -> list[tuple[int, ...]]:
    return [tuple(row)[1:7] for row in store.blobs.tolist()]


def test_a_folder_of_clam(make, tmp_path):
    """CLAM's feature files have no attributes: no boxes, and an encoder without a name."""
    (tmp_path / "run" / "h5_files").mkdir(parents=True)
    (tmp_path / "run" / "pt_files").mkdir()
    features = {name: make.clam(tmp_path / f"run/h5_files/{name}.h5", n, n) for name, n in (("s_1", 5), ("s_2", 3))}
    report = import_embeddings(tmp_path / "run", tmp_path / "s.store")
    store = open_store(tmp_path / "s.store")
    assert (report.format, report.files, report.images, report.embeddings) == ("slides", 2, 2, 8)
    assert store.keys["image"].tolist() == ["s_1"] * 5 + ["s_2"] * 3
    assert store.keys["blob"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert not store.keys["repeat"].any()
    assert np.array_equal(store.embeddings(), np.concatenate([features["s_1"], features["s_2"]]))
    assert store.recipe == {"encoder": {"name": "imported", "dim": make.dim}, "imported": {"version": 1}}
    assert {row.split for row in store.images.values()} == {"test"}
    assert len(store.blobs) == 0


def test_the_side_of_a_tile_can_be_told(make, tmp_path):
    make.clam(tmp_path / "a.h5", 2)
    import_embeddings(tmp_path / "a.h5", tmp_path / "s.store", tile_px=256)
    store = open_store(tmp_path / "s.store")
    assert boxes_of(store) == [(0, 65536, 0, 0, 256, 256), (1, 65536, 512, 512, 768, 768)]
    assert store.recipe["imported"] == {"version": 1}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_trident(make, tmp_path, dtype):
    features = make.trident(tmp_path / "slide.h5", 3, dtype=dtype)
    import_embeddings(tmp_path / "slide.h5", tmp_path / "s.store")
    store = open_store(tmp_path / "s.store")
    assert np.array_equal(store.embeddings(), features.astype(np.float32))
    assert store.dtype == dtype
    assert store.recipe == {
        "encoder": {"name": "uni_v1", "dim": make.dim},
        "imported": {"version": 1, "tile_px": 256, "magnification": 20, "overlap_px": 0},
    }
    assert boxes_of(store)[1] == (1, 512 * 512, 512, 512, 1024, 1024)


def test_slides_of_other_magnification_at_level_0_are_one_recipe(make, tmp_path):
    make.trident(tmp_path / "a.h5")
    make.trident(tmp_path / "b.h5", level0_magnification=20, patch_size_level0=256)
    import_embeddings([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "s.store")
    sides = {row["image"]: row["x1"] - row["x0"] for row in open_store(tmp_path / "s.store").blobs}
    assert sides == {"a": 512, "b": 256}


def test_stamp(make, tmp_path):
    """Coordinates are micrometres: boxes are in pixels of the tiles' own resolution."""
    features = make.stamp(tmp_path / "slide.h5", 3)
    import_embeddings(tmp_path / "slide.h5", tmp_path / "s.store")
    store = open_store(tmp_path / "s.store")
    assert np.array_equal(store.embeddings(), features.astype(np.float32))
    assert (store.dtype, store.recipe["encoder"]["name"]) == ("float16", "uni2")
    assert store.recipe["imported"] == {"version": 1, "tile_um": 256, "tile_px": 224}
    assert boxes_of(store)[1] == (1, 224 * 224, 224, 224, 448, 448)


def test_stamp_before_tiles_had_pixels(make, tmp_path):
    make.stamp(tmp_path / "a.h5", 2, tile_size_um=None, tile_size_px=None, tile_size=256.0)
    import_embeddings(tmp_path / "a.h5", tmp_path / "s.store")
    store = open_store(tmp_path / "s.store")
    assert store.recipe["imported"] == {"version": 1, "tile_um": 256}
    assert len(store.blobs) == 0


def test_the_first_stamp(make, tmp_path):
    make.stamp_1(tmp_path / "a.h5")
    import_embeddings(tmp_path / "a.h5", tmp_path / "s.store", encoder="ctranspath", tile_px=224)
    store = open_store(tmp_path / "s.store")
    assert store.recipe["encoder"]["name"] == "ctranspath"
    assert boxes_of(store)[1] == (1, 224 * 224, 224, 224, 448, 448)
    make.stamp_1(tmp_path / "b.h5", augmented=2)
    with pytest.raises(DataError, match=r"b\.h5: holds augmented tiles"):
        import_embeddings(tmp_path / "b.h5", tmp_path / "t.store")


@pytest.mark.parametrize(("level", "downsample", "side"), [(0, None, 256), (1, 4.0, 1024), (1, None, 0)])
def test_clam_coordinates_with_their_attributes(make, tmp_path, level, downsample, side):
    make.clam(tmp_path / "a.h5", 2)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["coords"].attrs.update({"patch_size": 256, "patch_level": level})
        if downsample:
            file["coords"].attrs["downsample"] = (downsample, downsample)
    import_embeddings(tmp_path / "a.h5", tmp_path / "s.store")
    store = open_store(tmp_path / "s.store")
    assert store.recipe["imported"] == {"version": 1, "tile_px": 256, "level": level}
    assert {row["x1"] - row["x0"] for row in store.blobs} == ({side} if side else set())


@pytest.mark.parametrize("chunks", [None, (1, 3, 8), (1, 10, 4)])
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_a_leading_dimension_of_one(make, tmp_path, chunks, compression):
    """So Hugging Face hosts the embeddings of TCGA: (1, n, dim), with coords (1, n, 2)."""
    features = make.vectors(10)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        chunks = chunks or (True if compression else None)
        file.create_dataset("features", data=features[None], chunks=chunks, compression=compression)
        file.create_dataset("coords", data=make.corners(10)[None].astype(float))
    import_embeddings(tmp_path / "a.h5", tmp_path / "s.store", tile_px=10)
    store = open_store(tmp_path / "s.store")
    assert np.array_equal(store.embeddings(), features)
    assert boxes_of(store)[2] == (2, 100, 1024, 1024, 1034, 1034)


def test_large_slides_are_read_in_pieces(make, tmp_path, monkeypatch):
    """Pieces are whole chunks of the file."""
    from featstore.store.exchange import hdf5, read_slides
    from featstore.store.exchange.batches import Options, Source

    features = make.vectors(50)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("features", data=features, chunks=(7, 8))
        file.create_dataset("coords", data=make.corners(50))
    monkeypatch.setattr(hdf5, "BUDGET", 16 * 32)
    batches = list(read_slides.read_slide(Source(tmp_path / "a.h5", "a"), Options(tile_px=4)))
    assert [len(batch.embeddings) for batch in batches] == [14, 14, 14, 8]
    assert np.array_equal(np.concatenate([batch.embeddings for batch in batches]), features)
    assert np.concatenate([batch.blob for batch in batches]).tolist() == list(range(50))
    assert batches[2].boxes[0].tolist() == [28, 16, 28 * 512, 512, 28 * 512 + 4, 516]


def test_one_embedding_of_a_whole_slide(make, tmp_path):
    """TRIDENT writes (dim,) with the coordinates of the tiles that it was pooled from."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = make.vectors(1)[0]
        file["coords"] = make.corners(100)
    import_embeddings(tmp_path / "a.h5", tmp_path / "s.store", encoder="titan")
    store = open_store(tmp_path / "s.store")
    assert store.keys.tolist() == [("a", 0, 0)]
    assert len(store.blobs) == 0


def test_names_are_paths_within_the_folder(make, tmp_path):
    for name in ("x/a.h5", "y/a.h5", "y/b.HDF5"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        make.stamp(tmp_path / "in" / name)
    (tmp_path / "in" / "._a.h5").write_bytes(b"what macOS leaves on foreign disks")
    import_embeddings(tmp_path / "in", tmp_path / "s.store")
    assert list(open_store(tmp_path / "s.store").images) == ["x/a", "y/a", "y/b"]
    with pytest.raises(DataError, match=r"x/a\.h5 and .*y/a\.h5 are both of image 'a'"):
        import_embeddings([tmp_path / "in/x/a.h5", tmp_path / "in/y/a.h5"], tmp_path / "t.store")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"encoder": "gigapath"}, "encoder is 'gigapath'"), ({"target_magnification": 10}, "'magnification': 10")],
)
def test_files_of_different_extractions(make, tmp_path, change, words):
    make.trident(tmp_path / "a.h5")
    make.trident(tmp_path / "b.h5", **change)
    with pytest.raises(DataError, match=rf"b\.h5: .*{words}"):
        import_embeddings([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "s.store")
    assert not (tmp_path / "s.store").exists()


def test_the_tiles_without_their_embeddings(tmp_path, make):
    with h5py.File(tmp_path / "a_patches.h5", "w") as file:
        file["coords"] = make.corners(4)
    with pytest.raises(DataError, match=r"a_patches\.h5: no dataset 'features' or 'feats' but coords"):
        import_embeddings(tmp_path / "a_patches.h5", tmp_path / "s.store")


def test_a_packed_store_is_told_from_slides(make_store, tmp_path):
    pack(make_store(), tmp_path / "packed.h5")
    with pytest.raises(DataError, match="opens as it is"):
        import_embeddings(tmp_path / "packed.h5", tmp_path / "s.store")


def test_another_name_for_the_embeddings(make, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["embedding"] = make.vectors(3)
        file["features"] = make.vectors(4)
    import_embeddings(tmp_path / "a.h5", tmp_path / "s.store", columns={"embeddings": "embedding"})
    assert np.array_equal(open_store(tmp_path / "s.store").embeddings(), make.vectors(3))
    with pytest.raises(DataError, match=r"a\.h5: no 'emb' to take for embeddings"):
        import_embeddings(tmp_path / "a.h5", tmp_path / "t.store", columns={"embeddings": "emb"})


def test_a_corner_that_is_no_pixel_is_named_with_its_row(make_store, tmp_path):
    export_embeddings(make_store(), tmp_path / "slides")
    path = next(file for file in sorted((tmp_path / "slides").glob("*.h5")))
    with h5py.File(path, "r+") as file:
        boxes = file["boxes"][...].astype(np.int64)
        boxes[1, 3] = 2**40
        del file["boxes"]
        file["boxes"] = boxes
    with pytest.raises(DataError, match=r"boxes is 1099511627776 in row 1; expected whole numbers"):
        import_embeddings(path, tmp_path / "s.store")
