"""What runs in a worker process: images in, crops out through memory that it shares with the main process."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import portable
from featstore.extract.interrupts import STOPS
from featstore.extract.loader import Loaded, Loader
from featstore.extract.plan import ImageJob

__all__ = ["SLOTS", "SLOTS_IN_TURNS", "Line", "OtherSideGone", "Ring", "work"]

SLOTS = 128
"""Crops that a worker may be ahead: 19 MB at 224 px."""

SLOTS_IN_TURNS = 32
"""The same where loaders and model take turns: many enough that they wait little for the last of them."""

_GROUP = 8
"""Crops that one message tells of."""


class OtherSideGone(Exception):  # noqa: N818 - not an error where it is expected
    """The process at the other end of a line has ended."""


class Line:
    """One end of a pipe between the main process and a worker."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def send(self, kind: str, content: Any) -> None:
        """Send a message."""
        try:
            self.pipe.send((kind, content))
        except OSError as error:
            raise OtherSideGone from error

    def receive(self) -> tuple[str, Any]:
        """Wait for a message."""
        try:
            kind, content = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise OtherSideGone from error
        return kind, content


class Ring:
    """Slots for crops in shared memory: one process writes them in turn, the other reads them in the same order.

    Parameters
    ----------
    context : SpawnContext
    side_px : int
        Side of a crop.
    slots : int
        Crops that it has room for.
    """

    def __init__(self, context: SpawnContext, side_px: int, slots: int = SLOTS) -> None:
        self.slots = slots
        self._memory = context.RawArray("B", slots * side_px * side_px * 3)
        self._side, self._place = side_px, 0

    def write(self, crop: NDArray[np.uint8]) -> None:
        """Put a crop into the next slot, which must be free."""
        self._next()[:] = crop

    def read(self, count: int) -> Iterator[NDArray[np.uint8]]:
        """Give the next crops, each of them good until it is told to the writer that they were read."""
        for _ in range(count):
            yield self._next()

    def _next(self) -> NDArray[np.uint8]:
        slots = np.frombuffer(self._memory, np.uint8).reshape(self.slots, self._side, self._side, 3)
        self._place = (self._place + 1) % self.slots
        slot: NDArray[np.uint8] = slots[self._place]
        return slot


def work(loader: Loader, pipe: Connection, ring: Ring | None) -> None:
    """Load images until the main process ends, on purpose or because it was killed.

    Ctrl-C and SIGTERM are the main process's to handle, and OpenCV takes one thread.
    """
    import cv2

    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
    with suppress(OtherSideGone):
        _Desk(loader, Line(pipe), ring).work()


class _Desk:
    """Sends what a loader makes, no faster than it is taken."""

    def __init__(self, loader: Loader, line: Line, ring: Ring | None) -> None:
        self._loader, self._line, self._ring = loader, line, ring
        self._heard: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._jobs: deque[ImageJob] = deque()
        self._free = ring.slots if ring else 0
        self._made: list[NDArray[Any]] = []
        self._written = 0

    def work(self) -> None:
        Thread(target=self._listen, daemon=True).start()
        while True:
            while not self._jobs:
                self._hear()
            loaded = Loaded(self._jobs.popleft())
            try:
                for item in self._loader.load(loaded):
                    self._put(item)
            except OtherSideGone:
                raise
            except Exception as error:  # noqa: BLE001 - the main process raises it
                self._line.send("failed", portable(error))
                return
            self._tell()
            self._line.send("loaded", loaded)

    def _listen(self) -> None:
        """Take in messages at once, on a thread: so that neither side ever waits for the other to listen."""
        with suppress(OtherSideGone):
            while True:
                self._heard.put(self._line.receive())
        os._exit(0)  # the main process is gone, and nobody wants what is still being made

    def _put(self, item: NDArray[Any]) -> None:
        if self._ring is None:
            self._made.append(item)
        else:
            self._ring.write(item)
            self._free -= 1
            self._written += 1
        if max(len(self._made), self._written) == _GROUP:
            self._tell()
        while self._ring is not None and not self._free:
            self._tell()
            self._hear()

    def _tell(self) -> None:
        """Tell of what was made since it was last told."""
        if self._made:
            self._line.send("embeddings", np.stack(self._made))
            self._made = []
        if self._written:
            self._line.send("crops", self._written)
            self._written = 0

    def _hear(self) -> None:
        kind, content = self._heard.get()
        if kind == "job":
            self._jobs.append(content)
        else:
            self._free += content
