"""Real Dask clusters on loopback, and a store to fit on. Whatever is started ends with its test."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from xgboost import XGBClassifier

import featstore
from featstore.toolkit import FoldEnsemble, LogitFusion, MLPHead, PooledHead, TemperatureScaling, save_model
from tests.clusters import Cluster, run_cluster, wait_for

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


@pytest.fixture
def make_cluster(tmp_path_factory) -> Iterator[Callable[..., Cluster]]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(run_cluster(tmp_path_factory.mktemp("cluster"), **settings))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """Two workers of one thread each, with a gate that is open; not for longer, since an idle scheduler ends."""
    gate = Gate(tmp_path_factory.mktemp("gate"))
    gate.open()
    with run_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
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
