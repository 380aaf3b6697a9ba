"""Places that can't be written, and the order in which files are made durable; `faults` has kills and full disks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import StoreWriteError
from featstore.store import create_store
from featstore.store.disk import files as files_module


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/sys/kernel").is_dir(), reason="root may write anywhere here")
def test_a_folder_that_may_not_be_written(tmp_path):
    """A folder without the right to write; root has that right everywhere but in the kernel's own folders."""
    tmp_path.chmod(0o500)
    folder = Path("/sys/kernel") if os.geteuid() == 0 else tmp_path
    with pytest.raises(StoreWriteError, match="not permitted"), create_store(folder / "x.store", {}, 1) as writer:
        writer.add("a", [0], [0], [[1.0]])


def test_without_hard_links_the_name_is_still_taken_once(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files_module.os, "link", refuse)
    target = tmp_path / "1.json"
    assert files_module.create_exclusively(target, b"first")
    assert not files_module.create_exclusively(target, b"second")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(sys.platform != "linux", reason="tells what a descriptor is from /proc")
def test_a_file_is_synced_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    """A kill can't show this, for what a process wrote outlives it; a power cut would."""
    path, steps = tmp_path / "x.store", []
    for name in ("link", "replace", "rename"):
        plain = getattr(os, name)
        monkeypatch.setattr(os, name, lambda a, b, *_, f=plain, **__: (f(a, b), steps.append((str(a), str(b)))))
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (sync(d), steps.append(Path(f"/proc/self/fd/{d}").readlink())))
    for number in range(2):
        with create_store(path, {"a": 1}, 8) as writer:
            writer.add(str(number), [0], [0], np.zeros((1, 8)))
    named = {}
    for place, step in enumerate(steps):
        if isinstance(step, tuple):
            source, target = map(Path, step)
            named[target] = source
            assert source in steps[:place], f"{target} has its name before it is synced"
            assert target.parent in steps[place:], f"the folder of {target} is not synced"
    files = {file for file in path.rglob("*") if file.is_file()}
    assert named.keys() == files
    assert all(source.name.startswith(files_module.TEMPORARY) for source in named.values())
    kinds = [target.parent.name for target in named]
    assert kinds[-1] == kinds[len(kinds) // 2 - 1] == "versions", "a version has its name after all that it lists"
