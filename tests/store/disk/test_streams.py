"""Embeddings on their way into a file: in pieces, as they come; and what becomes of a piece that is not written."""

from __future__ import annotations

import errno
import gc
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.errors import DataError, StoreNotFoundError, StoreWriteError
from featstore.store import create_store, open_store, verify
from featstore.store.disk import stream as stream_module
from featstore.store.disk.container import read_container
from featstore.store.disk.stream import EmbeddingStream
from featstore.store.disk.writing import write_container

DIM = 1024


@settings(max_examples=30, deadline=None)
@given(
    dim=st.integers(1, 3000) | st.sampled_from([1, 341, 342, 513, 1024, 1366, 2048]),
    kind=st.sampled_from(["float32", "float16"]),
    lengths=st.lists(st.sampled_from([0, 1, 5, 63, 64, 65, 700, 3000]), min_size=1, max_size=6).filter(any),
)
def test_any_pieces_make_the_same_file(tmp_path_factory, dim, kind, lengths):
    """However the rows come."""
    folder = tmp_path_factory.mktemp("any")
    array = np.random.default_rng(0).standard_normal((sum(lengths), dim)).astype(kind)
    entries = []
    for parts in (lengths, [len(array)]):
        stream = EmbeddingStream(folder / "x", dim, np.dtype(kind))
        for part in np.split(array, np.cumsum(parts)[:-1]):
            stream.write(part)
        entries.append(write_container(folder, "segment", {}, {}, stream))
    assert entries[0] == entries[1]
    assert [path.name for path in folder.iterdir()] == [entries[0].file]
    source = read_container(folder / entries[0].file, "segment", entries[0]).embeddings
    out = np.empty_like(array)
    source.read(np.arange(len(array)), out, slice(0, len(array)))
    np.testing.assert_array_equal(out, array)


def failing_once(monkeypatch, number: int, error: BaseException) -> None:
    """Let the writing of one piece fail: the first, the second, ..."""
    count, write_at = iter(range(1, 1000)), stream_module.write_at

    def write(*args):
        if next(count) == number:
            raise error
        write_at(*args)

    monkeypatch.setattr(stream_module, "write_at", write)


def add(writer, image: int, rows: int = 100) -> None:
    writer.add(f"{image}", range(rows), [0] * rows, np.full((rows, DIM), image))


@pytest.mark.parametrize("piece", [1, 2, 3])
def test_a_piece_that_cannot_be_written_is_a_plain_error(tmp_path, monkeypatch, piece):
    path = tmp_path / "x.store"
    failing_once(monkeypatch, piece, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(StoreWriteError, match=r"segments.*no space left"), create_store(path, {"a": 1}, DIM) as writer:
        for image in range(10):
            add(writer, image)
    with pytest.raises(StoreNotFoundError):
        open_store(path)
    assert list((path / "segments").iterdir()) == []


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "Stale file handle"), KeyboardInterrupt()])
def test_what_broke_off_is_never_committed(tmp_path, monkeypatch, error):
    """Whoever goes on all the same gets an error, not a version that can't be read; a new writer gets a good one."""
    path = tmp_path / "x.store"
    with create_store(path, {"a": 1}, DIM) as writer:
        add(writer, 99)
    writer = create_store(path, {"a": 1}, DIM)
    with monkeypatch.context() as patched:
        failing_once(patched, 2, error)
        with pytest.raises((StoreWriteError, KeyboardInterrupt)):
            for image in range(10):
                add(writer, image)
    told = "Stale file handle" if isinstance(error, OSError) else "broken off"
    with pytest.raises(StoreWriteError, match=told):
        add(writer, 11)
    with pytest.raises(StoreWriteError, match=told):
        writer.commit()
    assert open_store(path).version == 1
    with create_store(path, {"a": 1}, DIM) as writer:
        for image in range(10):
            add(writer, image)
    store = open_store(path)
    np.testing.assert_array_equal(store.embeddings()[:, 0], store.keys["image"].astype(np.float32))
    assert len(store) == 1100
    assert verify(path).ok


def test_the_first_piece_of_all_that_cannot_be_written(tmp_path):
    """The commit of whoever goes on says what the matter was, too."""
    path = tmp_path / "x.store"
    path.mkdir()
    (path / "segments").write_bytes(b"")
    writer = create_store(path, {"a": 1}, DIM)
    with pytest.raises(StoreWriteError, match="segments") as first:
        add(writer, 1, rows=1000)
    with pytest.raises(StoreWriteError) as second:
        writer.commit()
    assert str(second.value) == str(first.value)


def test_a_writer_whose_block_raised_has_ended(tmp_path):
    """Its rows are forgotten, and no byte goes to a file that was opened after its own was closed."""
    path, precious = tmp_path / "x.store", tmp_path / "precious"
    writer = create_store(path, {"a": 1}, DIM)
    with pytest.raises(RuntimeError), writer:
        add(writer, 1, rows=1000)
        raise RuntimeError
    with precious.open("wb") as stream:
        stream.write(b"precious")
        stream.flush()
        for go_on in (lambda: add(writer, 2, rows=1000), writer.commit, lambda: writer.register("a")):
            with pytest.raises(StoreWriteError, match=r"ended when its block raised.*create_store"):
                go_on()
    assert precious.read_bytes() == b"precious"
    assert list((path / "segments").iterdir()) == []
    with pytest.raises(StoreNotFoundError):
        open_store(path)


def test_a_commit_that_fails_at_the_end_of_a_block_leaves_nothing(tmp_path):
    path = tmp_path / "x.store"
    with pytest.raises(DataError, match="augmented repeats only"), create_store(path, {"a": 1}, DIM) as writer:
        writer.add("a", range(1000), [1] * 1000, np.ones((1000, DIM)))
    assert list((path / "segments").iterdir()) == []


def test_a_writer_that_is_forgotten_leaves_nothing(tmp_path):
    path = tmp_path / "x.store"
    writer = create_store(path, {"a": 1}, DIM)
    add(writer, 1, rows=1000)
    assert [file.name[:5] for file in (path / "segments").iterdir()] == [".tmp-"]
    del writer
    deadline = time.monotonic() + 20  # the thread may still be writing a piece
    while list((path / "segments").iterdir()) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert list((path / "segments").iterdir()) == []


def test_many_small_parts_cost_no_memory(tmp_path, measured):
    """What is added is on its way to the disk: the keys wait, and a megabyte of embeddings."""
    embeddings = np.ones((10, DIM), dtype=np.float32)

    def write():
        with create_store(tmp_path / "x.store", {"a": 1}, DIM) as writer:
            for image in range(600):
                writer.add(f"{image:04d}", range(10), [0] * 10, embeddings)

    _, peak = measured(write)
    assert peak < 8e6
    assert len(open_store(tmp_path / "x.store")) == 6000
