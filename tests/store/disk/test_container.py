"""Containers: what is written is read back, by us and by any HDF5 tool; what is damaged is named."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featstore.errors import FeatstoreError, StoreFormatError
from featstore.recipe import canonical_json
from featstore.store.disk.container import FileEntry, read_container
from featstore.store.disk.stream import block_rows
from featstore.store.disk.writing import EmbeddingRows, write_container

KINDS = ("<f4", "<f2", "<i4", "<i8", "<u8", "|S1", "|S7", "|S300")
NUMBERS = {"a": np.arange(5, dtype="<i4"), "group/texts": np.array([b"x", b"yy"]), "none": np.zeros(0, "<i8")}

shapes = st.one_of(
    st.tuples(st.integers(0, 40)), st.tuples(st.integers(0, 900)), hnp.array_shapes(min_dims=2, max_dims=2)
)
arrays = st.tuples(st.sampled_from(KINDS), shapes, st.integers(0, 2**32)).map(lambda drawn: noise(*drawn))


def noise(kind, shape, seed: int) -> np.ndarray:
    """Random bytes taken for an array: every bit pattern must come back as it was."""
    dtype = np.dtype(kind)
    count = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(count), dtype).reshape(shape)


def rows_of(array: np.ndarray, chunk: int = 1) -> EmbeddingRows:
    step = chunk * block_rows(array.shape[1], array.dtype)
    return EmbeddingRows(array.shape[1], array.dtype, (array[at : at + step] for at in range(0, len(array), step)))


def write(folder, datasets=NUMBERS, embeddings=None, **attributes) -> FileEntry:
    return write_container(folder, "segment", attributes, datasets, embeddings and rows_of(*embeddings))


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.shape, one.dtype, one.tobytes()) == (other.shape, other.dtype, other.tobytes())


@settings(max_examples=40, deadline=None)
@given(
    datasets=st.dictionaries(st.text("abcdefgh", min_size=1, max_size=8).map("d/{}".format), arrays, max_size=6),
    embeddings=st.none() | st.tuples(st.sampled_from(["<f4", "<f2"]), st.integers(1, 60), st.integers(1, 2100)),
)
def test_what_was_written_is_read_back_by_us_and_by_hdf5(tmp_path_factory, datasets, embeddings):
    folder = tmp_path_factory.mktemp("any")
    array = noise(embeddings[0], embeddings[1:], 0) if embeddings else None
    entry = write(folder, datasets, embeddings and (array, 2), words="wörter", number=3)
    path = folder / entry.file
    assert [path] == list(folder.iterdir())
    read = read_container(path, "segment", entry)
    assert (read.entry, path.stat().st_size, read.attributes["words"]) == (entry, entry.bytes, "wörter")
    with h5py.File(path, "r") as file:
        assert (file.attrs["words"], file.attrs["number"]) == ("wörter", 3)
        for name, values in datasets.items():
            assert same(read.datasets[name], values)
            assert same(file[name][...], values)
            assert file[name].chunks is None
        if array is not None:
            out = np.empty_like(array)
            read.embeddings.read(np.arange(len(array)), out, slice(0, len(array)))
            assert same(out, array)
            assert same(file["embeddings"][...], array)
            assert file["embeddings"].id.get_offset() == read.embeddings.offset
            assert array.nbytes < 4096 or read.embeddings.offset % 4096 == 0


@pytest.mark.parametrize("count", [0, 20, 30, 31, 32, 33, 34, 35, 40, 80, 200])
def test_a_directory_of_any_length_has_room(tmp_path, count):
    datasets = {f"a dataset whose name is long/{number}": np.arange(number) for number in range(count)}
    entry = write(tmp_path, datasets, text="x" * 10 * count)
    read = read_container(tmp_path / entry.file, "segment", entry)
    assert all(same(read.datasets[name], values) for name, values in datasets.items())
    with h5py.File(tmp_path / entry.file, "r") as file:
        assert same(file[f"a dataset whose name is long/{count - 1}"][...], np.arange(count - 1)) if count else True


def test_what_was_read_cannot_be_written_to(tmp_path):
    entry = write(tmp_path, embeddings=(np.ones((2, 3), "<f4"),))
    for values in read_container(tmp_path / entry.file, "segment").datasets.values():
        with pytest.raises(ValueError, match="read-only"):
            values[...] = values


def test_the_same_content_has_the_same_name(tmp_path):
    one, other = (write(tmp_path, number=1) for _ in range(2))
    assert one == other
    assert write(tmp_path, number=2) != one
    assert len(list(tmp_path.iterdir())) == 2


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path, helpers):
    """Without embeddings there is no byte that nothing checks."""
    entry = write(tmp_path, {"a": NUMBERS["a"]})
    path = tmp_path / entry.file
    for at in range(entry.bytes):
        helpers.flip(path, at)
        with pytest.raises(StoreFormatError, match=entry.file):
            read_container(path, "segment")
        helpers.flip(path, at)
    assert read_container(path, "segment", entry).entry == entry


@pytest.mark.parametrize("length", [0, 1, 90, 4095, 4096, 5000, -1])
def test_a_file_that_is_cut_or_grows_is_found(tmp_path, length):
    entry = write(tmp_path, embeddings=(np.ones((2, 3), "<f4"),))
    path = tmp_path / entry.file
    content = path.read_bytes()
    for damaged in (content[:length], content + b"\0"):
        path.write_bytes(damaged)
        for known in (None, entry):
            with pytest.raises(StoreFormatError, match=entry.file):
                read_container(path, "segment", known)


def test_another_file_another_kind_and_a_later_format_are_refused(tmp_path):
    entry = write(tmp_path, number=1)
    path = tmp_path / entry.file
    with pytest.raises(StoreFormatError, match="another file than the version lists"):
        read_container(path, "segment", FileEntry("0" * 64, entry.bytes))
    with pytest.raises(StoreFormatError, match=rf"{entry.bytes} bytes; expected the 7 bytes"):
        read_container(path, "segment", FileEntry(entry.sha256, 7))
    with pytest.raises(StoreFormatError, match=r"a segment of .* expected a table"):
        read_container(path, "table")
    path.write_bytes(path.read_bytes().replace(b"featstore 1 ", b"featstore 2 ", 1))
    with pytest.raises(StoreFormatError, match=r"format 2; expected format 1. Install a newer featstore"):
        read_container(path, "segment")


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("featstore 1 and so on")
    for name, found in {
        "pipe": "not a file",
        "folder": "",
        "text": "not a file that featstore wrote",
        "no": "missing",
    }.items():
        with pytest.raises(StoreFormatError, match=rf"{name}: .*{found}"):
            read_container(tmp_path / name, "segment")


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("on purpose"), KeyboardInterrupt()]
)
def test_a_write_that_breaks_off_leaves_nothing(tmp_path, error):
    def chunks():
        yield np.ones((1024, 1), "<f4")
        raise error

    with pytest.raises((FeatstoreError, type(error))):
        write_container(tmp_path, "segment", {}, NUMBERS, EmbeddingRows(1, np.dtype("<f4"), chunks()))
    assert list(tmp_path.iterdir()) == []


def test_a_large_file_costs_little_memory_to_read(tmp_path, measured):
    """Embeddings are located, not read; a column of a million numbers is read once."""
    array = np.zeros((4096, 1024), "<f4")
    entry = write(tmp_path, {"a": np.zeros(10**6, "<i4")}, (array, 512))
    read, peak = measured(lambda: read_container(tmp_path / entry.file, "segment", entry))
    assert len(read.datasets["a"]) == 10**6
    assert peak < 5e6


def forged(path, size: int, datasets: dict) -> None:
    """Write a container of one hole, its directory right."""
    directory = {"kind": "store", "bytes": size, "datasets": datasets, "rest": "0" * 16, "attributes": {}}
    text = canonical_json(directory).encode()
    path.write_bytes(f"featstore 1 {hashlib.sha256(text).hexdigest()} {len(text)} 4096\n".encode() + text)
    os.truncate(path, size)


def test_a_file_that_is_much_larger_than_its_datasets_is_not_read(tmp_path, measured):
    """A hole of 256 GiB costs who made it nothing."""
    size = 2**38
    forged(tmp_path / "x.h5", size, {"a": ["<i4", [10], 4096], "embeddings": ["<f4", [1, 8], 8192]})

    def read():
        with pytest.raises(StoreFormatError, match=rf"x\.h5: {size} bytes; expected at most \d{{8}} for its datasets"):
            read_container(tmp_path / "x.h5", "store")

    _, peak = measured(read)
    assert peak < 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux")
def test_what_does_not_fit_into_memory_is_a_plain_error(tmp_path):
    forged(tmp_path / "x.h5", 2**38, {"a": ["|S1", [2**38 - 8192], 8192]})
    script = f"""
import resource
from pathlib import Path
from featstore.errors import StoreFormatError
from featstore.store.disk.container import read_container
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
try:
    read_container(Path({str(tmp_path / "x.h5")!r}), "store")
except StoreFormatError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "x.h5: does not fit into memory" in done.stdout, done.stderr


def test_any_number_of_datasets_and_images_is_within_the_bound(tmp_path):
    """The bound on HDF5's own structure, with room to spare: aligned datasets waste up to a page each."""
    large = write(
        tmp_path,
        {f"a/{number}": np.arange(1025, dtype="<i4") for number in range(2000)},
        (np.ones((2, 1024), "<f4"), 1),
    )
    bare = write(tmp_path, {f"a/{number}": np.zeros(0, "<i4") for number in range(2000)})
    for entry in (large, bare):
        datasets = read_container(tmp_path / entry.file, "segment", entry).datasets
        assert entry.bytes - sum(values.nbytes for values in datasets.values()) < 2**24 / 2 + 2**13 / 1.5 * len(
            datasets
        )


def test_datasets_may_overlap(tmp_path):
    """They are looked at where they stand, and can't be written to: overlapping ones are no worse than equal ones."""
    entry = write(tmp_path, {"a": np.arange(8, dtype="<i4"), "b": np.arange(4, dtype="<i8")})
    content = bytearray((tmp_path / entry.file).read_bytes())
    line, _, rest = bytes(content).partition(b"\n")
    directory = json.loads(rest[: int(line.split()[3])])
    directory["datasets"]["b"][2] = directory["datasets"]["a"][2]
    text = canonical_json(directory).encode()
    block = f"featstore 1 {hashlib.sha256(text).hexdigest()} {len(text)} 4096\n".encode() + text
    content[:4096] = block.ljust(4096, b"\0")
    (tmp_path / "x.h5").write_bytes(content)
    read = read_container(tmp_path / "x.h5", "segment").datasets
    assert same(read["b"].view("<i4"), np.arange(8, dtype="<i4"))


def test_rows_of_a_page_share_a_checksum():
    sizes = {(1, "<f4"): 1024, (1, "<f2"): 2048, (3, "<f4"): 341, (1024, "<f4"): 1, (1025, "<f4"): 1, (1024, "<f2"): 2}
    assert {(dim, kind): block_rows(dim, np.dtype(kind)) for dim, kind in sizes} == sizes
