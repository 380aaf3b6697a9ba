"""The process that reads: what it survives, and what its end says."""

from __future__ import annotations

import os
import signal
import sys

import h5py
import numpy as np
import pytest

from featstore.errors import DataError, MissingExtraError
from featstore.store.exchange.batches import Options, Source
from featstore.store.exchange.reader import Reader


def spin(tmp_path, make):
    """A file that HDF5 never gets to the end of: the heap with its texts says that the next object is empty."""
    path = tmp_path / "lost.h5"
    make.stamp(path)
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 : heap + 64] = bytes(48)
    path.write_bytes(content)
    return path


def test_a_file_that_keeps_hdf5_busy_for_ever(make, tmp_path):
    path = spin(tmp_path, make)
    make.stamp(tmp_path / "good.h5")
    with Reader("slides", patience_s=2) as reader:
        with pytest.raises(DataError, match=r"lost\.h5: not readable: the library .* got lost in it"):
            reader.header(Source(path, "lost"), Options())
        assert reader.header(Source(tmp_path / "good.h5", "good"), Options()).encoder == "uni2"


@pytest.mark.parametrize(("number", "words"), [(signal.SIGSEGV, r"crashed \(SIGSEGV\)"), (signal.SIGKILL, "SIGKILL")])
def test_a_crash_names_the_file(make, tmp_path, number, words):
    """A crash made by hand: which damaged file crashes HDF5 depends on its version."""
    make.clam(tmp_path / "a.h5")
    source = Source(tmp_path / "a.h5", "a")
    with Reader("slides") as reader:
        reader.header(source, Options())
        os.kill(reader._process.process.pid, number)
        with pytest.raises(DataError, match=rf"a\.h5: not readable: .*{words}"):
            reader.header(source, Options())
        assert reader.header(source, Options()).rows == 5


def test_rows_that_nobody_waits_for_do_not_come_later(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    source = Source(tmp_path / "a.npz", "")
    with Reader("npz") as reader:
        rows = reader.read(source, Options())
        assert next(rows).image == "img_0.png"
        rows.close()
        assert reader.header(source, Options()).rows == 6
        assert [batch.image for batch in reader.read(source, Options())] == ["img_0.png", "img_1.png"]


def test_the_process_ends_with_its_reader(make, tmp_path):
    make.npz(tmp_path / "a.npz")
    with Reader("npz") as reader:
        reader.header(Source(tmp_path / "a.npz", ""), Options())
        process = reader._process.process
    assert process.poll() is not None


def test_what_is_in_the_current_folder_is_not_run(make, tmp_path, monkeypatch):
    """Data folders are downloaded: a module in one of them must not take the place of a real one."""
    for name in ("json", "numpy", "h5py", "featstore"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    make.clam(tmp_path / "a.h5")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with Reader("slides") as reader:
        assert reader.header(Source(tmp_path / "a.h5", "a"), Options()).rows == 5
    assert not (tmp_path / "ran").exists()


def test_what_a_library_prints_is_no_answer(tmp_path, make, monkeypatch):
    """A module in front of pyarrow's prints, and makes way for the real one."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pyarrow.py").write_text(
        "import os, sys\nos.write(1, b'noise')\nprint('more', flush=True)\n"
        "sys.path.remove(os.path.dirname(__file__))\ndel sys.modules['pyarrow']\nimport pyarrow\n"
    )
    make.parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    with Reader("parquet") as reader:
        assert reader.header(Source(tmp_path / "a.parquet", ""), Options()).rows == 6


def test_a_missing_extra_comes_through(make, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pyarrow.py").write_text("raise ImportError('not installed')\n")
    make.parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    with Reader("parquet") as reader, pytest.raises(MissingExtraError, match=r"need pyarrow.*\.\[exchange\]"):
        reader.header(Source(tmp_path / "a.parquet", ""), Options())


def test_large_arrays_come_through_whole(tmp_path):
    values = np.random.default_rng(0).standard_normal((30_000, 300)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = values
    with Reader("slides") as reader:
        batches = list(reader.read(Source(tmp_path / "a.h5", "a"), Options()))
    assert len(batches) == 2
    assert np.array_equal(np.concatenate([batch.embeddings for batch in batches]), values)
