"""Worker processes that load images; their crops come through shared memory."""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from featstore.errors import FeatstoreError
from featstore.extract.interrupts import interrupts_blocked
from featstore.extract.loader import Loaded, Loader
from featstore.extract.pipeline import Pipeline
from featstore.extract.plan import ImageJob
from featstore.extract.worker import SLOTS, SLOTS_IN_TURNS, Line, OtherSideGone, Ring, work

__all__ = ["Workers", "load_here"]

_AHEAD = 2
"""Images that a worker has: the one at work, and the next."""

_LOOK_UP_S = 0.2

_DEATHS, _MOST_DEADLY = 2, 3
"""Workers that may die at an image before it is set apart, and images that may be set apart."""


def load_here(loader: Loader, jobs: Iterable[ImageJob], pipeline: Pipeline, check: Callable[[], None]) -> None:
    """Load images in this process."""
    for job in jobs:
        check()
        image = Loaded(job)
        for item in loader.load(image):
            check()
            pipeline.take(image, item)
        pipeline.loaded(image)


@dataclass(eq=False)
class _Worker:
    """One process, the images that it has, and the pipe and the memory between it and this one.

    What was heard of it and not taken yet is, with its image, a number of crops, or embeddings, or None when no more
    come. ``crops`` is how many are in the memory.
    """

    process: BaseProcess
    line: Line
    ring: Ring | None
    images: deque[Loaded] = field(default_factory=deque)
    heard: deque[tuple[Loaded, Any]] = field(default_factory=deque)
    crops: int = 0

    @property
    def rests(self) -> bool:
        """Whether it makes nothing until its crops are taken, or until it is given images."""
        return not self.images or (self.ring is not None and self.crops == self.ring.slots)


class Workers:
    """Processes that load images side by side; each is started when there is an image for it.

    A worker that dies is replaced and its images are given out again. An image at which two workers die is set apart as
    failed; more than three such images end the run.

    Parameters
    ----------
    loader : Loader
    count : int
        At most so many.
    turns : bool
        Whether crops are taken only when all the processes rest. Where the model computes on the same cores, that is
        faster than that they get in each other's way: a model whose threads wait for one that is held up all lose.
    """

    def __init__(self, loader: Loader, count: int, *, turns: bool = False) -> None:
        self.count = count
        self._loader, self._turns, self._slots = loader, turns, SLOTS_IN_TURNS if turns else SLOTS
        self._context = multiprocessing.get_context("spawn")
        self._died_at: Counter[str] = Counter()
        self._workers: list[_Worker] = []

    def close(self) -> None:
        """End the processes; whatever one still does is not wanted any more."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.line.pipe.close()

    def load(self, jobs: Iterable[ImageJob], pipeline: Pipeline, check: Callable[[], None]) -> None:
        """Load images; their crops are taken as they come.

        Raises
        ------
        FeatstoreError
            If workers die.
        """
        self._pipeline = pipeline
        self._jobs = deque(jobs)
        for ahead in range(1, _AHEAD + 1):
            for place in range(self.count):
                if place == len(self._workers) and self._jobs:
                    self._workers.append(self._start())
                if place < len(self._workers):
                    self._employ(self._workers[place], ahead)
        while any(worker.images for worker in self._workers):
            check()
            for worker in self._those_with_news():
                self._hear(worker)
            if not self._turns or all(worker.rests for worker in self._workers):
                for worker in self._workers:
                    self._take(worker)
                for worker in self._workers:
                    self._release(worker)

    def _those_with_news(self) -> list[_Worker]:
        by_pipe = {worker.line.pipe: worker for worker in self._workers}
        ready = wait(list(by_pipe), timeout=_LOOK_UP_S)
        return [worker for pipe, worker in by_pipe.items() if pipe in ready]

    def _hear(self, worker: _Worker) -> None:
        """Take in one message; crops stay where they are."""
        try:
            kind, content = worker.line.receive()
        except OtherSideGone:
            self._replace(worker)
            return
        if kind == "loaded":
            image = worker.images.popleft()
            vars(image).update(vars(content) | {"job": image.job, "encoded": image.encoded})
            worker.heard.append((image, None))
            self._employ(worker)
        elif kind == "failed":
            raise content
        else:
            worker.heard.append((worker.images[0], content))
            worker.crops += content if worker.ring else 0

    def _take(self, worker: _Worker) -> None:
        """Take what was heard of: crops out of the shared memory, or embeddings out of messages."""
        while worker.heard:
            image, content = worker.heard.popleft()
            if content is None:
                self._pipeline.loaded(image)
                continue
            for item in content if worker.ring is None else worker.ring.read(content):
                self._pipeline.take(image, item)

    def _release(self, worker: _Worker) -> None:
        """Let a worker write where crops lay that were taken."""
        if worker.crops:
            with suppress(OtherSideGone):  # which shows when it is listened to
                worker.line.send("read", worker.crops)
            worker.crops = 0

    def _employ(self, worker: _Worker, ahead: int = _AHEAD) -> None:
        """See to it that a worker has images."""
        with suppress(OtherSideGone):  # which shows when it is listened to
            while self._jobs and len(worker.images) < ahead:
                worker.images.append(Loaded(self._jobs.popleft()))
                worker.line.send("job", worker.images[-1].job)

    def _replace(self, dead: _Worker) -> None:
        """Put a new worker in a dead one's place, and give out its images again, from their first crop on."""
        self._take(dead)
        dead.process.join()
        dead.line.pipe.close()
        if dead.images and self._is_deadly(image := dead.images[0]):
            dead.images.popleft()
            image = Loaded(image.job, is_loaded=True)
            image.fail(FeatstoreError("two loader processes were killed at it, most often for want of memory"))
            self._pipeline.loaded(image)
        self._jobs.extendleft(image.job for image in reversed(dead.images))
        new = self._workers[self._workers.index(dead)] = self._start()
        self._employ(new)

    def _is_deadly(self, image: Loaded) -> bool:
        """Tell whether it is the second worker that died at an image; too many such images are no coincidence."""
        name = image.job.record.image
        self._died_at[name] += 1
        if self._died_at[name] < _DEATHS:
            return False
        if sum(deaths >= _DEATHS for deaths in self._died_at.values()) > _MOST_DEADLY:
            raise FeatstoreError(
                f"processes that load images are killed again and again, now at {name}, most often for want of memory",
                remedy="What was finished is stored. Run the same command again, with fewer --workers.",
            )
        return True

    def _start(self) -> _Worker:
        here, there = self._context.Pipe()
        side = self._loader.recipe.encoder.input_size_px
        ring = Ring(self._context, side, self._slots) if self._loader.encode is None else None
        arguments = (self._loader, there, ring)
        process = self._context.Process(target=work, args=arguments, daemon=True)
        with interrupts_blocked(), _children_allowed():
            process.start()
        there.close()
        return _Worker(process, Line(here), ring)


@contextmanager
def _children_allowed() -> Iterator[None]:
    """Let a daemon, such as a Dask worker, have children.

    They are forbidden to it lest they outlive it; ours end when the pipe to it does.
    """
    config = vars(multiprocessing.current_process())["_config"]
    daemon = config.pop("daemon", None)
    try:
        yield
    finally:
        if daemon is not None:
            config["daemon"] = daemon
