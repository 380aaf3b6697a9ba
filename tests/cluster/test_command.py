"""``featstore fit --dask`` in a process of its own: the same file, one message for what breaks, nothing of Dask's."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from featstore_cli.app import app

SETTINGS = ("--preset", "m4", "--folds", "2")


def _start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", "from featstore_cli.app import app; app()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def fitting(store_path, tmp_path):
    """Start ``featstore fit`` on a cluster; whatever becomes of it, it ends."""
    started = []

    def start(address):
        started.append(
            _start("fit", store_path, "--model", tmp_path / "m.model", *SETTINGS, "--dask", address, "--json")
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_file_as_here_and_nothing_on_stderr(cluster, fitting, store_path, tmp_path):
    process = fitting(cluster.file)
    where = ("--model", str(tmp_path / "here"), "--jobs", "1")
    here = CliRunner().invoke(app, ["fit", str(store_path), *where, *SETTINGS])
    assert here.exit_code == 0, here.output
    out, err = process.communicate(timeout=60)
    assert err == ""
    assert len(json.loads(out)["folds"]) == 2
    assert _digest(tmp_path / "m.model") == _digest(tmp_path / "here")


def test_ctrl_c(cluster, fitting, tmp_path):
    with cluster.gate.closed():
        process = fitting(cluster.address)
        cluster.gate.wait_for(2)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == ""
    assert err.strip().splitlines() == [
        f"Interrupted. No model was written; one that was at {tmp_path / 'm.model'} is as it was. "
        "Run the same command again."
    ]
    assert not list(tmp_path.iterdir())


def test_the_scheduler_ends_half_way(make_cluster, gate, fitting, tmp_path):
    cluster = make_cluster()
    cluster.worker("--preload", gate.preload)
    process = fitting(cluster.address)
    gate.wait_for(1)
    cluster.scheduler.kill()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == ""
    assert err.startswith(f"Error: the connection to the Dask scheduler at {cluster.address} was lost.")
    assert err.count("\n") == 1
    assert not (tmp_path / "m.model").exists()


def test_dask_and_jobs_are_not_given_together(store_path):
    for jobs in ("1", "4"):
        result = CliRunner().invoke(app, ["fit", str(store_path), "--dask", "host:8786", "--jobs", jobs])
        assert result.exit_code == 2
        assert "--jobs" in result.stderr
        assert "--dask" in result.stderr


def test_no_address(store_path, tmp_path):
    model = tmp_path / "m.model"
    result = CliRunner().invoke(app, ["fit", str(store_path), "--model", str(model), "--dask", "nowhere"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no address of a Dask scheduler, and no file: nowhere; expected host:8786")
    assert result.stdout == ""
    assert not model.exists()
