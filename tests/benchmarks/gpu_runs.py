"""Runs of the bare model and of the whole pipeline in turn, on one device, for `gpu_check`."""

from __future__ import annotations

import math
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from featstore.dataset import find_dataset
from featstore.encoders import ModelEncoder
from featstore.encoders.base import require
from featstore.extract import Extraction, ImageJob, Repeats, Setup, Station, extract
from featstore.extract.stages import Lanes
from featstore.extract.station import Check, Finished
from featstore.recipe import Recipe
from featstore.store import create_store
from tests.benchmarks.generated import make_crops, write_images

__all__ = ["REPEATS", "Bare", "Run", "runs_in_turn"]

REPEATS = 4
CROPS_AN_IMAGE = 5 * (1 + REPEATS)
"""Of `write_images`, on average."""

DISTINCT = 48
"""Images that are drawn; of more, the rest are links to these, which cost the pipeline as much as others do."""

RUNS, RUNS_IF_SLOW, SLOW_S = 9, 3, 15.0
"""Runs of the pipeline, fewer where one is to take longer than so many seconds."""

BARE_SHARE = 0.5
"""How long a run of the bare model is beside one of the pipeline: there is one before and one after each."""


@dataclass(frozen=True)
class Run:
    """A run of the pipeline, and the speed of the bare model right before and after it.

    Attributes
    ----------
    bare, rate : float
        Embeddings a second; of the bare model, in the time of both its runs together.
    seconds : float
        From the first crop asked for to the last commit, and the end of the loaders.
    cpu_s : float
        Processor time of this process in these seconds; loaders not included.
    samples : list of int
        Per cent, from nvidia-smi.
    lanes : Lanes
    result : Extraction
    """

    bare: float
    rate: float
    seconds: float
    cpu_s: float
    samples: list[int]
    lanes: Lanes
    result: Extraction

    @property
    def ratio(self) -> float:
        return self.rate / self.bare


class Bare:
    """The model alone, on crops that are on its device already, in batches as the pipeline makes them."""

    def __init__(self, encoder: ModelEncoder, batch: int) -> None:
        self.batch, self.batches = batch, 1
        self._running = encoder.running
        crops = require("torch").from_numpy(make_crops(batch, encoder.settings.input_size_px))
        self._crops = crops.to(self._running.device)
        self.rate = self.measure()

    def last(self, seconds: float) -> None:
        """Let a run be of as many batches as take so many seconds; the device is warm afterwards."""
        if self.batch / self.rate < seconds:
            self.rate = self.measure()
        while self.batches < 0.8 * (wanted := self.rate * seconds / self.batch):
            self.batches = min(math.ceil(wanted), 10 * self.batches)
            self.rate = self.measure()

    def measure(self) -> float:
        """Tell embeddings a second: all batches are given to the device, then the last one's embeddings are awaited."""
        start = time.perf_counter()
        for _ in range(self.batches):
            rows = self._running.embed(self._crops)
        rows.cpu()
        return self.batch * self.batches / (time.perf_counter() - start)


class Clock:
    """A station whose clock starts when the first crop is asked for; the encoder and all processes run by then."""

    def __init__(self, gpu: str | None) -> None:
        self.samples: list[int] = []
        self.begun = self.cpu_begun = 0.0
        self._gpu = gpu
        self._before: dict[str, float] = {}

    def __call__(self, setup: Setup) -> Self:
        self._station, self._most = Station(setup), setup.recipe.crops.max_blobs
        return self

    def __enter__(self) -> Self:
        self._station.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._station.__exit__(*raised)

    @property
    def how(self) -> Mapping[str, Any]:
        return self._station.how

    @property
    def lanes(self) -> Lanes:
        return self._station.lanes

    @property
    def seconds(self) -> Mapping[str, float]:
        return {stage: spent - self._before.get(stage, 0.0) for stage, spent in self._station.seconds.items()}

    def embed(self, jobs: Iterable[ImageJob], finished: Finished, check: Check) -> None:
        """Have each process make one crop, which is thrown away; then start the clock and embed everything."""
        jobs, others = list(jobs), frozenset((blob, 0) for blob in range(1, self._most))
        first = [replace(job, repeats=(0,), stored=others) for job in jobs[: max(1, self.lanes.loaders)]]
        self._station.embed(first, lambda _: None, check)
        self._before = dict(self._station.seconds)
        with _sampled(self._gpu, self.samples):
            self.begun, self.cpu_begun = time.perf_counter(), time.process_time()
            self._station.embed(jobs, finished, check)


def runs_in_turn(encoder: ModelEncoder, bare: Bare, folder: Path, *, images: int | None, seconds: float) -> list[Run]:
    """Run the bare model and the pipeline in turn, B P B P ... B, with as many crops at once.

    Parameters
    ----------
    encoder : ModelEncoder
    bare : Bare
    folder : Path
        Where images and stores go.
    images : int, optional
        By default as many as take the bare model ``seconds``, one at least.
    seconds : float
    """
    bare.last(BARE_SHARE * seconds)
    images = images or max(1, math.ceil(seconds * bare.rate / CROPS_AN_IMAGE))
    _write(folder / "data", images)
    runs: list[Run] = []
    before = bare.measure()
    for _ in range(RUNS if images * CROPS_AN_IMAGE / bare.rate < SLOW_S else RUNS_IF_SLOW):
        run = _run(encoder, bare.batch, folder)
        after = bare.measure()
        runs.append(replace(run, bare=statistics.harmonic_mean((before, after))))
        before = after
    return runs


def _write(folder: Path, images: int) -> None:
    write_images(folder, min(images, DISTINCT))
    with (folder / "train_labels.csv").open("a") as labels:
        for number in range(DISTINCT, images):
            for kind in ("img", "mask"):
                drawn = folder / "train_data" / f"{kind}_{number % DISTINCT:04d}.png"
                drawn.with_name(f"{kind}_{number:04d}.png").hardlink_to(drawn)
            labels.write(f"img_{number:04d}.png,{'AB'[number % 2]}\n")


def _run(encoder: ModelEncoder, batch: int, folder: Path) -> Run:
    """Run the pipeline once; the bare model's speed is filled in afterwards."""
    clock, recipe = Clock(_gpu(encoder.running.device)), Recipe(encoder.settings)
    with create_store(folder / "made.store", recipe.to_dict(), encoder.settings.dim, operation="extract") as writer:
        result = extract(
            find_dataset(folder / "data"),
            encoder,
            recipe,
            writer,
            repeats=Repeats(train=REPEATS),
            batch_size=batch,
            engine=clock,
        )
        seconds, cpu_s = time.perf_counter() - clock.begun, time.process_time() - clock.cpu_begun
    shutil.rmtree(folder / "made.store")
    return Run(math.nan, result.computed / seconds, seconds, cpu_s, clock.samples, clock.lanes, result)


def _gpu(device: str) -> str | None:
    """Tell what nvidia-smi calls a CUDA device: it may count them otherwise than torch does."""
    if not device.startswith("cuda"):
        return None
    uuid = getattr(require("torch").cuda.get_device_properties(device), "uuid", None)
    return f"GPU-{uuid}" if uuid else device.rpartition(":")[2]


@contextmanager
def _sampled(gpu: str | None, samples: list[int]) -> Iterator[None]:
    """Ask nvidia-smi every half second how busy a GPU is, where there are both."""
    program, over = shutil.which("nvidia-smi"), threading.Event()
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--id={gpu}"]

    def ask() -> None:
        while not over.wait(0.5):
            said = subprocess.run([str(program), *query], capture_output=True, text=True, check=False).stdout.strip()
            if said.isdecimal() and not over.is_set():  # where it can't tell it says [N/A]
                samples.append(int(said))

    if gpu and program:
        threading.Thread(target=ask, daemon=True).start()
    try:
        yield
    finally:
        over.set()
