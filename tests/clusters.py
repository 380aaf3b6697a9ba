"""Real Dask clusters on loopback; whatever is started ends with its test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["Cluster", "run_cluster", "wait_for"]

WAIT_S = 30


def wait_for(ready: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if value := ready():
            return value
        time.sleep(0.02)
    raise TimeoutError(what)


class Cluster:
    """A scheduler, with workers as they are added; each is a process group of its own."""

    def __init__(self, folder: Path, stack: ExitStack, **settings: str) -> None:
        self.folder, self.stack, self.processes = folder, stack, 0
        self.gate: Any = None
        self.file = folder / "scheduler.json"
        self.scheduler = self._start(
            "dask_scheduler", "--port", "0", "--scheduler-file", self.file, "--idle-timeout", "300s", **settings
        )
        self.address: str = wait_for(self._address, "the scheduler")

    def worker(self, *options: object, threads: int = 1, nanny: bool = False, **settings: str) -> subprocess.Popen:
        return self._start(
            "dask_worker",
            *(self.address, "--nthreads", threads, "--nanny" if nanny else "--no-nanny", "--memory-limit", "0"),
            *("--death-timeout", "60s", "--local-directory", self.folder, *options),
            **settings,
        )

    def ready(self, n_workers: int) -> Cluster:
        """Wait for workers."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=WAIT_S)
        return self

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def _start(self, what: str, *options: object, **settings: str) -> subprocess.Popen:
        self.processes += 1
        command = [sys.executable, "-m", f"distributed.cli.{what}", "--host", "127.0.0.1", "--no-dashboard"]
        with (self.folder / f"{self.processes}.log").open("w") as log:
            process = subprocess.Popen(
                [*command, *map(str, options)],
                cwd=self.folder,
                env={**os.environ, **settings},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.stack.callback(_end, process)
        return process

    def _address(self) -> str | None:
        try:
            return str(json.loads(self.file.read_bytes())["address"])
        except (OSError, ValueError):
            return None


def _end(process: subprocess.Popen) -> None:
    """End a process and those that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def run_cluster(folder: Path, **settings: str) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(folder, stack, **settings)
