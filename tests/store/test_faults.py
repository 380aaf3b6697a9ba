"""Writers that are killed, that race, and that have nowhere to write."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import StoreWriteError
from featstore.store import create_store, open_store
from featstore.store import files as files_module

WRITER = """
import sys
import numpy as np
from featstore.store import create_store

path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for number in range(first, first + count):
    with create_store(path, {"a": 1}, 8) as writer:
        if not writer.stored(f"{number:05d}", ("", "")):
            writer.add(f"{number:05d}", [0, 1], [0, 0], np.full((2, 8), number, dtype=np.float32))
"""


def _start(path, first: int, count: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(first), str(count)], stdout=subprocess.PIPE
    )


def _check(path) -> int:
    """Every row of every committed version is there, once, with its own numbers."""
    store = open_store(path)
    keys = store.keys
    assert len(np.unique(keys)) == len(keys)
    np.testing.assert_array_equal(store.embeddings()[:, 0], keys["image"].astype(np.float32))
    assert np.bincount(np.unique(keys["image"], return_inverse=True)[1]).tolist() == [2] * len(store.images)
    return store.version


def test_a_killed_writer_leaves_whole_versions(tmp_path):
    """Killed at a dozen random moments and started again, the store ends as if nothing had happened."""
    path, rng = tmp_path / "x.store", random.Random(7)
    version = 0
    for _ in range(12):
        process = _start(path, 0, 400)
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if (path / "versions").exists() and any((path / "versions").glob("*.json")):
            assert _check(path) >= version
            version = open_store(path).version
    assert version > 0
    last = _start(path, 0, 60)
    assert last.wait() == 0
    last.stdout.close()
    _check(path)
    assert {f"{n:05d}" for n in range(60)} <= set(open_store(path).images)


def test_racing_writers_lose_nothing(tmp_path):
    path = tmp_path / "x.store"
    processes = [_start(path, 1000 * k, 15) for k in range(4)]
    for process in processes:
        assert process.wait() == 0
        process.stdout.close()
    assert _check(path) == 60
    names = sorted(int(file.stem) for file in (path / "versions").glob("*.json"))
    assert names == list(range(1, 61))


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/sys/kernel").is_dir(), reason="root may write anywhere here")
def test_a_folder_that_may_not_be_written(tmp_path):
    """A folder without the right to write; root has that right everywhere but in the kernel's own folders."""
    tmp_path.chmod(0o500)
    folder = Path("/sys/kernel") if os.geteuid() == 0 else tmp_path
    with pytest.raises(StoreWriteError, match="not permitted"), create_store(folder / "x.store", {}, 1) as writer:
        writer.add("a", [0], [0], [[1.0]])


def test_a_full_disk_is_said_plainly_and_changes_nothing(tmp_path):
    """A file-size limit stands in for the full disk: the kernel refuses the write in the same way."""
    path = tmp_path / "x.store"
    with create_store(path, {"a": 1}, 8) as writer:
        writer.add("00000", [0, 1], [0, 0], np.zeros((2, 8)))
    script = """
        import resource, signal, sys
        import numpy as np
        from featstore.store import create_store
        from featstore.errors import StoreWriteError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        try:
            with create_store(sys.argv[1], {"a": 1}, 8) as writer:
                writer.add("00001", range(2000), [0] * 2000, np.ones((2000, 8)))
        except StoreWriteError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, check=True
    )
    assert "no space left" in done.stdout
    assert _check(path) == 1
    assert not [file for file in path.rglob("*") if file.name.startswith(files_module.TEMPORARY)]


def test_without_hard_links_the_name_is_still_taken_once(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files_module.os, "link", refuse)
    target = tmp_path / "1.json"
    assert files_module.create_exclusively(target, b"first")
    assert not files_module.create_exclusively(target, b"second")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]
