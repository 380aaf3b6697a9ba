"""The processes that folds are fitted in, real ones: interrupted while they start, killed, and counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from featstore_cli.workers import working_here

COMMAND = "from featstore_cli.app import app; app()"
linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")


@pytest.fixture
def start(work, small_data, tmp_path):
    """Start a command in a session of its own, as a terminal would, and end all of it afterwards."""
    started = []

    def start(command: str, *arguments: object) -> subprocess.Popen[str]:
        fitted = [work / "s.store", "--preset", "m4", "--folds", 3]
        filled = [command, *([small_data] if command == "check" else fitted), *arguments]
        filled += ["--model", tmp_path / "m.model"] if command == "fit" else []
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, *map(str, filled)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    found = []
    with suppress(OSError):  # it may end meanwhile
        for listed in Path(f"/proc/{process.pid}/task").glob("*/children"):
            for child in map(int, listed.read_text().split()):
                with suppress(OSError):
                    if b"LokyProcess" in Path(f"/proc/{child}/cmdline").read_bytes():
                        found.append(child)
    return found


def first_workers(process: subprocess.Popen[str]) -> list[int]:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if found := workers_of(process):
            return found
        time.sleep(0.005)
    raise AssertionError(process.communicate())


@linux
@pytest.mark.parametrize(
    ("command", "after_s"),
    [("fit", 0), ("fit", 0.3), ("evaluate", 0.7), ("evaluate", 2), ("check", 0), ("check", 0.7)],
)
def test_ctrl_c_while_workers_start_and_while_they_work(start, command, after_s):
    process = start(command, "--jobs", 2, *(["--seeds", 3] if command == "evaluate" else []))
    first_workers(process)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "Exception" not in err
    assert "Run the same command again" in err
    assert out == ""


@linux
@pytest.mark.parametrize("command", ["fit", "check"])
def test_a_killed_worker_is_told_in_plain_words(start, command):
    process = start(command, "--jobs", 2)
    os.kill(first_workers(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("Error: a worker process was killed, most often for want of memory")
    assert "--jobs 1" in err
    assert err.count("\n") == 1


@linux
def test_no_more_workers_are_started_than_there_are_folds(start):
    process = start("fit", "--folds", 2, "--jobs", 5)
    seen = set(first_workers(process))
    while process.poll() is None:
        seen |= set(workers_of(process))
        time.sleep(0.05)
    assert process.returncode == 0, process.communicate()
    assert len(seen) == 2


def fail() -> None:
    raise KeyError("gone")


def fails_as(name: str) -> None:
    thread = threading.Thread(target=fail, name=name)
    thread.start()
    thread.join()


def test_the_pools_own_thread_is_silent_only_where_work_is_stopped(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: told.append(failure.thread.name))
    with working_here():
        fails_as("ExecutorManagerThread")
        fails_as("other")
    assert told == ["other", "ExecutorManagerThread"]
    told.clear()
    with pytest.raises(KeyboardInterrupt), working_here():
        fails_as("ExecutorManagerThread")
        raise KeyboardInterrupt
    fails_as("ExecutorManagerThread")
    fails_as("other")
    assert told == ["other"]
