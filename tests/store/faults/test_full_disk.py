"""A disk that is full in the middle of every kind of file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from featstore.store import create_store

# In a namespace of its own a user may mount what root may, and all of it is gone when the process ends.
MOUNTED = ["unshare", "--mount", "--map-root-user", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"']


def _may_mount(folder: Path) -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*MOUNTED, folder, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("operation", "kinds"),
    [
        ("create", {"segments", "tables", "versions"}),
        ("append", {"segments", "tables", "versions"}),
        ("relabel", {"tables", "versions"}),
        ("compact", {"segments", "tables", "versions"}),
        ("pack", {".h5"}),
        ("merge", {"segments", "tables", "versions"}),
    ],
)
def test_full_in_each_kind_of_file(tmp_path, tell, operation, kinds):
    """The room left is swept in pages: a plain error, the store as it was, no litter; then, with room, it goes on."""
    if not _may_mount(tmp_path):
        pytest.skip("may not mount a file system here")
    script = Path(__file__).with_name("full_disk.py")
    command = [*MOUNTED, tmp_path, sys.executable, script, tmp_path, operation]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    full = json.loads(done.stdout)
    tell(operation=operation, full_disks=sum(full.values()), inside=full)
    assert full.keys() == kinds


@pytest.mark.parametrize("limit", [1000, 20_000])
def test_a_file_size_limit(tmp_path, sound, limit):
    """Where nothing can be mounted: the kernel refuses the write in the same way, in whatever file comes first."""
    path = tmp_path / "x.store"
    with create_store(path, {"a": 1}, 8) as writer:
        writer.add("00000", [0, 1], [0, 0], np.zeros((2, 8)))
    script = """
        import resource, signal, sys
        import numpy as np
        from featstore.store import create_store
        from featstore.errors import StoreWriteError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
        try:
            with create_store(sys.argv[1], {"a": 1}, 8) as writer:
                writer.add("00001", range(2000), [0] * 2000, np.ones((2000, 8)))
        except StoreWriteError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "no space left" in done.stdout
    assert sound(path).version == 1
    assert not [file for file in path.rglob("*") if file.name.startswith(".tmp-")]
