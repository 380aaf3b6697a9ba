"""Every single step of every write, each time killed before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("operation", ["create", "append", "relabel", "compact", "pack", "merge"])
def test_killed_before_each_step(tmp_path, tell, operation):
    script = Path(__file__).with_name("crash_points.py")
    done = subprocess.run([sys.executable, script, tmp_path, operation], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = int(done.stdout)
    tell(operation=operation, killed_before_each_of=steps)
    assert steps >= 8, "temporary file, sync, name, sync of the folder: a write has more steps than that"
