"""A store that may only be read."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap

import pytest

READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'

SCRIPT = """
    import sys
    from pathlib import Path
    from featstore.errors import StoreWriteError
    from featstore.store import NewLabel, create_store, merge, open_store, pack, relabel, vacuum, verify

    path, elsewhere = Path(sys.argv[1]), Path(sys.argv[2])
    store = open_store(path)
    assert len(store) == len(store.embeddings()) == 16
    assert verify(path).ok
    pack(store, elsewhere / "packed.h5")
    merge([path], elsewhere / "merged.store")
    vacuum(path)

    def append():
        with create_store(path, store.recipe, store.dim) as writer:
            writer.add("new", [0], [0], [[0.0] * store.dim])

    writes = {
        "append": append,
        "relabel": lambda: relabel(path, [NewLabel("img_1.png", label="Z")]),
        "compact": lambda: vacuum(path, apply=True, grace_s=0.0, compact=True),
        "pack": lambda: pack(store, path / "packed.h5"),
    }
    for name, write in writes.items():
        try:
            write()
        except StoreWriteError as error:
            assert "not permitted" in str(error) and str(path) in str(error), error
        else:
            raise AssertionError(name)
    assert verify(path).ok and open_store(path).version == store.version
"""


def test_read_only(victim, tmp_path):
    path = shutil.copytree(victim / "a.store", tmp_path / "ro" / "a.store")
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", READ_ONLY, path.parent]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not mount a folder read-only here")
    run = [*command, sys.executable, "-c", textwrap.dedent(SCRIPT), path, tmp_path]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
