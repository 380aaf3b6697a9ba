"""One encoder with the processes that load images for it, on one device: where jobs become embeddings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from joblib import cpu_count

from featstore.encoders import EncodeQueue, Encoder, encode_queue, limit_threads
from featstore.errors import SettingError
from featstore.extract.loader import Loaded, Loader
from featstore.extract.pipeline import make_pipeline
from featstore.extract.plan import ImageJob
from featstore.extract.stages import Lanes
from featstore.extract.workers import Workers, load_here
from featstore.recipe import Recipe

__all__ = ["Check", "Engine", "Finished", "Setup", "Station"]

Finished = Callable[[Loaded], None]
"""Takes an image as soon as all its embeddings are there."""

Check = Callable[[], None]
"""Called every now and then; raises to end the run."""

_MOST_LOADERS = 16
"""Processes that load for one GPU: more of them would only wait."""


@dataclass(frozen=True)
class Setup:
    """What a station is made of; it can be pickled, and makes the same station elsewhere.

    Attributes
    ----------
    recipe : Recipe
    encoder : Encoder
    batch_size : int or None
        Crops that go through the encoder together; None: found by trial.
    workers : int or None
        Processes that load images; 0: none but the encoder's own; None: what suits the machine.
    """

    recipe: Recipe
    encoder: Encoder
    batch_size: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise SettingError(f"batch size {self.batch_size}", expected="1 or more")
        if self.workers is not None and self.workers < 0:
            raise SettingError(f"{self.workers} workers", expected="0 or more")


class Engine(Protocol):
    """Makes embeddings of images: here, on several GPUs, or on a cluster."""

    @property
    def how(self) -> Mapping[str, Any]:
        """Device, precision and versions in use, to be recorded; known when the first image is finished."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage, summed over processes."""

    @property
    def lanes(self) -> Lanes:
        """How many processes do what."""

    def embed(self, jobs: Iterable[ImageJob], finished: Finished, check: Check) -> None:
        """Embed images, in whatever order they come."""


class Station:
    """The engine on one device of this machine. A context manager: the encoder is loaded, and processes are ended.

    Parameters
    ----------
    setup : Setup
    cores : int, optional
        How many cores it may take for itself; all by default.
    """

    def __init__(self, setup: Setup, *, cores: int | None = None) -> None:
        self._setup = setup
        self._cores = cores or int(cpu_count())
        self._loader = Loader(setup.recipe, setup.encoder)
        self._seconds: Counter[str] = Counter()
        self._queue: EncodeQueue | None = None
        self._workers: Workers | None = None

    def __enter__(self) -> Self:
        encoder = self._setup.encoder
        encoder.start()
        if not encoder.in_worker:
            if self._device == "cpu":
                limit_threads(self._cores)
            self._queue = encode_queue(encoder, self._setup.batch_size)
        if count := self._loaders():
            self._workers = Workers(self._loader, count, turns=self._device == "cpu" and not encoder.in_worker)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._workers:
            self._workers.close()

    @property
    def how(self) -> Mapping[str, Any]:
        """Device, precision and versions in use."""
        return self._setup.encoder.how

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage, summed over processes."""
        if self._queue is None:
            return dict(self._seconds)
        transfer, encode = self._queue.transfer_s, self._queue.encode_s
        return {**self._seconds, "transfer": self._seconds["transfer"] + transfer, "encode": encode}

    @property
    def lanes(self) -> Lanes:
        """How many processes do what."""
        encoder = self._setup.encoder
        return Lanes(
            loaders=self._workers.count if self._workers else 0,
            light=encoder.in_worker,
            device=self._device,
            cores=self._cores,
        )

    def embed(self, jobs: Iterable[ImageJob], finished: Finished, check: Check) -> None:
        """Embed images, in whatever order they come; if it raises, the station can only be closed.

        Raises
        ------
        FeatstoreError
            If loader processes die, or the encoder can't go on.
        """
        pipeline = make_pipeline(self._queue, finished, check)
        if self._workers:
            self._workers.load(jobs, pipeline, check)
        else:
            load_here(self._loader, jobs, pipeline, check)
        pipeline.flush()
        self._seconds.update(pipeline.seconds)

    @property
    def _device(self) -> str:
        """The kind of device: cpu, cuda or mps."""
        return re.split(r"\W", str(self.how.get("device", "cpu")))[0]

    def _loaders(self) -> int:
        """Choose how many processes load: as many as cores on a CPU; for a GPU one less, whose core feeds it."""
        if self._setup.workers is not None:
            return self._setup.workers
        if self._device == "cpu":
            return self._cores if self._cores > 1 else 0
        return max(1, min(self._cores - 1, _MOST_LOADERS))
