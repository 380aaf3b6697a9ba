"""Files that are damaged, of another kind, or meant to do harm: one plain error, and nothing is followed or run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest

from featstore.errors import DataError
from featstore.store.exchange import import_embeddings

SUFFIX = {"npz": "npz", "parquet": "parquet", "h5ad": "h5ad", "clam": "h5", "trident": "h5", "stamp": "h5"}


def refused(path, words, **options):
    with pytest.raises(DataError, match=words) as caught:
        import_embeddings(path, path.parent / "s.store", **options)
    assert str(path) in str(caught.value)
    assert not (path.parent / "s.store" / "versions").exists()


@pytest.mark.parametrize("kind", SUFFIX)
def test_cut_off_at_any_place(make, tmp_path, kind):
    path = tmp_path / f"a.{SUFFIX[kind]}"
    getattr(make, kind)(path)
    whole = path.read_bytes()
    for share in (0, 0.01, 0.3, 0.7, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(path, "not readable|no array|no dataset|lists|holds")


@pytest.mark.parametrize("kind", SUFFIX)
@pytest.mark.parametrize("content", [b"", b"image,label\na,b\n", b"\x89PNG\r\n\x1a\n" * 99, b"PK\x03\x04" + bytes(500)])
def test_of_another_kind(tmp_path, kind, content):
    path = tmp_path / f"a.{SUFFIX[kind]}"
    path.write_bytes(content)
    refused(path, "not readable")


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_objects_are_never_unpickled(make, tmp_path):
    harm = tmp_path / "harm"
    for name in ("embeddings", "image", "label"):
        make.npz(tmp_path / "a.npz", **{name: np.array([Harm(harm)] * 6, dtype=object)})
        refused(tmp_path / "a.npz", "Python objects")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Harm(harm)))
    refused(tmp_path / "b.npz", "not readable")
    make.npz(tmp_path / "c.npz", featstore=np.array(Harm(harm), dtype=object))
    refused(tmp_path / "c.npz", "not readable|Object arrays")
    assert not harm.exists()


def npy(shape, content=b"", descr="<f4", order=False):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": order, "shape": shape})
    return stream.getvalue() + content


@pytest.mark.parametrize(
    ("embeddings", "words"),
    [
        (npy((10**12, 8)), "declares .* which is not what it holds"),
        (npy((2**62, 2**62)), "declares|not readable"),
        (npy((-1, 8)), "declares|not readable|shape"),
        (npy((2, 8), bytes(63)), "declares"),
        (npy((2, 8), bytes(65)), "declares"),
        (npy((2, 4, 2), bytes(64)), "shape"),
        (npy((16,), bytes(64)), "shape"),
        (npy((0, 8)), "no embeddings"),
        (npy((2, 0)), "no embeddings"),
        (npy((2, 8), bytes(64), order=True), "column by column"),
        (npy((2, 8), bytes(256), descr="<c16"), "complex"),
        (npy((2, 8), bytes(64), descr="<U1"), "<U1"),
        (npy((2, 8), bytes(64), descr="<m4"), "not readable|holds|timedelta"),
        (npy((2, 8), b"", descr="|V0"), "declares|not readable"),
        (npy((1, 2**25), bytes(2**27)), "dim is 33554432"),
        (b"\x93NUMPY\x03\x00" + npy((2, 8), bytes(64))[8:], "version"),
        (b"\x93NUMPY\x01\x00\x05\x00{'a':", "not readable"),
        (b"", "not readable"),
    ],
)
def test_arrays_that_declare_what_is_not_there(tmp_path, embeddings, words):
    path = tmp_path / "a.npz"
    rows = 1 if b"33554432" in embeddings[:200] else 2
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embeddings.npy", embeddings)
        archive.writestr("image.npy", npy((rows,), b"a\0\0\0" * rows, descr="<U1"))
    refused(path, words)


def test_archives_that_lie(make, tmp_path):
    path = tmp_path / "a.npz"
    make.npz(path)
    whole = path.read_bytes()
    start = struct.unpack("<L", whole[-6:-2])[0]
    for at, value in ((10, 12), (8, 1), (20, 0), (24, 255)):  # compression, encryption, sizes
        spoilt = bytearray(whole)
        spoilt[start + at] = value
        path.write_bytes(spoilt)
        refused(path, "not readable|compressed|declares|encrypted")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("embeddings.npy", npy((2, 8), bytes(64)))
    refused(path, "compressed in a way that numpy never does")


def test_an_array_that_is_there_twice(make, tmp_path):
    path = tmp_path / "a.npz"
    make.npz(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("image.npy", npy((6,), b"b\0\0\0" * 6, descr="<U1"))
    refused(path, "image.npy is there twice")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
@pytest.mark.parametrize("kind", ["npz", "clam", "h5ad"])
def test_numbers_that_are_not_finite(make, tmp_path, kind, value):
    path, spoilt = tmp_path / f"a.{SUFFIX[kind]}", make.vectors(6).astype(np.float64)
    spoilt[4, 4] = value
    if kind == "clam":
        with h5py.File(path, "w") as file:
            file["features"] = spoilt
    else:
        getattr(make, kind)(path, **{"embeddings" if kind == "npz" else "matrix": spoilt})
    refused(path, "not finite")


def hdf5(path, build):
    with h5py.File(path, "w") as file:
        build(file)
    return path


SLIDES = {
    "scalar": (lambda f: f.create_dataset("features", data=1.0), "shape"),
    "empty": (lambda f: f.create_dataset("features", data=h5py.Empty("f4")), "holds nothing"),
    "no rows": (lambda f: f.create_dataset("features", shape=(0, 8), dtype="f4"), "no embeddings"),
    "no columns": (lambda f: f.create_dataset("features", shape=(8, 0), dtype="f4"), "no embeddings"),
    "four dimensions": (lambda f: f.create_dataset("features", data=np.ones((1, 1, 2, 3))), "shape"),
    "two slides": (lambda f: f.create_dataset("features", data=np.ones((2, 2, 3))), "shape"),
    "text": (lambda f: f.create_dataset("features", data=[["a"]]), "holds object"),
    "bytes": (lambda f: f.create_dataset("features", data=np.array([[b"a"]])), r"holds \|S1"),
    "complex": (lambda f: f.create_dataset("features", data=np.ones((2, 2), "c8")), "holds complex64"),
    "compound": (lambda f: f.create_dataset("features", shape=(2, 2), dtype=[("a", "f4")]), "holds|declares"),
    "references": (lambda f: f.create_dataset("features", shape=(2, 2), dtype=h5py.ref_dtype), "holds|declares"),
    "group": (lambda f: f.create_group("features"), "no dataset"),
    "type": (lambda f: f.__setitem__("features", np.dtype("f4")), "no dataset"),
    "lengths": (
        lambda f: [
            f.create_dataset("features", data=np.ones((3, 2))),
            f.create_dataset("coords", data=np.ones((2, 2))),
        ],
        "coords of shape",
    ),
    "coordinates": (
        lambda f: [
            f.create_dataset("features", data=np.ones((2, 2))),
            f.create_dataset("coords", data=np.ones((2, 4))),
        ],
        "coords of shape",
    ),
    "words": (
        lambda f: [f.create_dataset("features", data=np.ones((1, 2))), f.create_dataset("coords", data=[["a", "b"]])],
        "coords",
    ),
    "far away": (
        lambda f: [f.create_dataset("features", data=np.ones((1, 2))), f.create_dataset("coords", data=[[2**40, 0]])],
        "can't be a pixel",
    ),
    "nowhere": (
        lambda f: [f.create_dataset("features", data=np.ones((1, 2))), f.create_dataset("coords", data=[[np.nan, 0]])],
        "can't be a pixel",
    ),
}


@pytest.mark.parametrize("name", SLIDES)
def test_slides_that_are_none(tmp_path, name):
    build, words = SLIDES[name]
    refused(hdf5(tmp_path / "a.h5", build), words, tile_px=256)


HUGE = {
    "never written": {"shape": (10**9, 2560)},
    "no chunk written": {"shape": (10**9, 2560), "chunks": (1000, 10)},
    "as large as can be": {"shape": (2**40, 2**20)},
    "one chunk of it all": {"shape": (2**19, 1500), "chunks": (2**19, 1500)},
}


@pytest.mark.parametrize("name", HUGE)
def test_terabytes_that_are_not_there(tmp_path, name):
    path = hdf5(tmp_path / "a.h5", lambda file: file.create_dataset("features", dtype="f4", **HUGE[name]))
    assert path.stat().st_size < 20_000
    refused(path, "declares .* but holds less")


def test_a_row_of_a_terabyte(tmp_path):
    def build(file):
        file.create_dataset("features", shape=(10**9, 256), dtype="f4", chunks=(1, 256))[0] = 1

    refused(hdf5(tmp_path / "a.h5", build), "declares .* but holds less")


@pytest.fixture
def secret(tmp_path):
    """A file elsewhere with data that must not come along."""
    (tmp_path / "elsewhere").mkdir()
    np.ones((4, 2), dtype=np.float32).tofile(tmp_path / "elsewhere/raw")
    return hdf5(tmp_path / "elsewhere/secret.h5", lambda f: f.create_dataset("features", data=np.ones((4, 2), "f4")))


def virtual(file, secret):
    layout = h5py.VirtualLayout(shape=(4, 2), dtype="f4")
    layout[:] = h5py.VirtualSource(str(secret), "features", shape=(4, 2))
    file.create_virtual_dataset("features", layout)


ELSEWHERE = {
    "external link": lambda f, s: f.__setitem__("features", h5py.ExternalLink(str(s), "features")),
    "soft link": lambda f, s: f.__setitem__("features", h5py.SoftLink("/nowhere")),
    "virtual": virtual,
    "external storage": lambda f, s: f.create_dataset(
        "features", shape=(4, 2), dtype="f4", external=[(str(s.with_name("raw")), 0, 32)]
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_data_in_other_files_are_not_followed(tmp_path, secret, name):
    refused(hdf5(tmp_path / "a.h5", lambda f: ELSEWHERE[name](f, secret)), "not followed")


@pytest.mark.parametrize("part", ["X", "obs", "obs/blob", "obs/image/categories", "obs/label/codes"])
def test_anndata_that_points_elsewhere(make, tmp_path, part):
    path = tmp_path / "a.h5ad"
    make.h5ad(path)
    make.h5ad(tmp_path / "b.h5ad")
    with h5py.File(path, "r+") as file:
        del file[part]
        file[part] = h5py.ExternalLink(str(tmp_path / "b.h5ad"), part)
    refused(path, "not followed")


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("obs/blob", np.arange(3), "blob of shape"),
        ("obs/image/codes", np.full(6, 99, dtype=np.int8), "not readable"),
        ("obs/blob", np.zeros((6, 2), dtype=int), "blob of shape"),
        ("X", np.zeros((0, 8), dtype=np.float32), "no embeddings"),
        ("X", np.zeros((5, 8), dtype=np.float32), "with embeddings of shape"),
    ],
)
def test_anndata_whose_parts_do_not_fit(make, tmp_path, part, value, words):
    path = tmp_path / "a.h5ad"
    make.h5ad(path)
    with h5py.File(path, "r+") as file:
        marks = dict(file[part].attrs)
        del file[part]
        file[part] = value
        file[part].attrs.update(marks)
    refused(path, words)


def test_a_parquet_table_of_nothing(make, tmp_path):
    make.parquet(tmp_path / "a.parquet", 0)
    refused(tmp_path / "a.parquet", "no rows")
    make.parquet(tmp_path / "b.parquet", image=None)
    refused(tmp_path / "b.parquet", "no column 'image' but blob")
    make.parquet(tmp_path / "c.parquet", image=["a", None, "a", "a", "a", "a"])
    refused(tmp_path / "c.parquet", "image is missing")
