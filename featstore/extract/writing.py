"""Storing finished images on a thread of its own, so that the encoder never waits for a disk."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from featstore.extract.loader import Loaded

__all__ = ["Writing"]

_WAITING = 64
"""Images that may wait for the disk before the run does."""


class Writing:
    """Calls ``store`` for each image that it is given, in turn, on one thread.

    Parameters
    ----------
    store : callable

    Attributes
    ----------
    seconds : float
        Spent storing.
    """

    def __init__(self, store: Callable[[Loaded], None]) -> None:
        self.seconds = 0.0
        self._store = store
        self._images: queue.Queue[Loaded | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="featstore-writing")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Store what is waiting, whatever has happened."""
        self._images.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def put(self, image: Loaded) -> None:
        """Have an image stored; raises what an earlier one has met with."""
        self._raise()
        self._images.put(image)

    def _run(self) -> None:
        while (image := self._images.get()) is not None:
            if self._error is None:
                start = time.perf_counter()
                try:
                    self._store(image)
                except BaseException as error:  # noqa: BLE001 - raised in the run's own thread
                    self._error = error
                self.seconds += time.perf_counter() - start

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
