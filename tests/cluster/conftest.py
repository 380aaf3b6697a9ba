"""Real Dask clusters on loopback, and a store to fit on. Whatever is started ends with its test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xgboost import XGBClassifier

import featstore
from featstore.toolkit import FoldEnsemble, LogitFusion, MLPHead, PooledHead, TemperatureScaling, save_model

WAIT_S = 30

# A worker that loads this tells when it starts a fold, and goes on when it may. Dask loads it more than once.
GATE = """
import os, time
from pathlib import Path
import featstore.toolkit.ensemble as ensemble

folder = Path({folder!r})
ensemble.plain = getattr(ensemble, "plain", ensemble._fit_fold)

def gated(*args):
    (folder / f"started-{{os.getpid()}}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return ensemble.plain(*args)

ensemble._fit_fold = gated
"""


def wait_for(ready: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if value := ready():
            return value
        time.sleep(0.02)
    raise TimeoutError(what)


class Gate:
    """Holds the folds of workers that were started with it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.preload = folder, folder / "gate.py"
        self.preload.write_text(textwrap.dedent(GATE.format(folder=str(folder))))

    def started(self) -> list[int]:
        """Process ids of workers that wait in a fold."""
        return [int(path.name.partition("-")[2]) for path in self.folder.glob("started-*")]

    def wait_for(self, n_workers: int) -> list[int]:
        return wait_for(lambda: pids if len(pids := self.started()) >= n_workers else None, "folds that start")

    def open(self) -> None:
        (self.folder / "go").touch()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Hold the folds that start within."""
        (self.folder / "go").unlink()
        for path in self.folder.glob("started-*"):
            path.unlink()
        try:
            yield
        finally:
            self.open()


class Cluster:
    """A scheduler, with workers as they are added; each is a process group of its own."""

    def __init__(self, folder: Path, stack: ExitStack, **settings: str) -> None:
        self.folder, self.stack, self.processes = folder, stack, 0
        self.gate: Gate | None = None
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
def _cluster(folder: Path, **settings: str) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(folder, stack, **settings)


@pytest.fixture
def make_cluster(tmp_path_factory) -> Iterator[Callable[..., Cluster]]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(_cluster(tmp_path_factory.mktemp("cluster"), **settings))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """Two workers of one thread each, with a gate that is open."""
    gate = Gate(tmp_path_factory.mktemp("gate"))
    gate.open()
    with _cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.gate = gate
        for _ in range(2):
            cluster.worker("--preload", gate.preload)
        yield cluster.ready(2)


@pytest.fixture
def gate(tmp_path) -> Gate:
    folder = tmp_path / "gate"
    folder.mkdir()
    return Gate(folder)


@pytest.fixture(scope="session")
def store_path(tmp_path_factory) -> Path:
    """A store of 60 images of three classes, some blobs each, one repeat."""
    path = tmp_path_factory.mktemp("store") / "s.store"
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((3, 16))
    with featstore.create_store(path, recipe={"encoder": "simulated"}, dim=16) as writer:
        for image in range(60):
            n_blobs = int(rng.integers(1, 4))
            blobs, repeats = np.repeat(np.arange(n_blobs), 2), np.tile([0, 1], n_blobs)
            embeddings = (centres[image % 3] + rng.standard_normal((2 * n_blobs, 16))).astype(np.float32)
            writer.add(
                image=f"img_{image:04d}.png",
                blobs=blobs,
                repeats=repeats,
                embeddings=embeddings,
                label="ABC"[image % 3],
                split="train",
            )
    return path


@pytest.fixture(scope="session")
def bags(store_path):
    return featstore.open_store(store_path).bags("train")


@pytest.fixture(scope="session")
def ensemble() -> Callable[[], FoldEnsemble]:
    """A quick m5."""
    trees = XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1, subsample=0.5, early_stopping_rounds=2)
    heads = [
        ("mlp", TemperatureScaling(MLPHead(hidden=(8,), max_epochs=5))),
        ("xgboost", TemperatureScaling(PooledHead(trees))),
    ]
    return lambda: FoldEnsemble(LogitFusion(heads), n_splits=6, random_state=0)


@pytest.fixture(scope="session")
def bytes_of(tmp_path_factory) -> Callable[[FoldEnsemble], bytes]:
    """Return the bytes of a model's file."""
    path = tmp_path_factory.mktemp("models") / "some.model"

    def read(model: FoldEnsemble) -> bytes:
        save_model(model, path)
        return path.read_bytes()

    return read


@pytest.fixture(scope="session")
def expected(ensemble, bags, bytes_of) -> bytes:
    """The file of the model that is fitted here, one fold after another."""
    return bytes_of(ensemble().set_params(n_jobs=1).fit(bags, bags.labels))
