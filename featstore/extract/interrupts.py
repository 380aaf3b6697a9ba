"""Ctrl-C that waits for a safe moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["STOPS", "Interrupts", "interrupts_blocked"]

STOPS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Notes Ctrl-C, and a cluster's SIGTERM, and raises where it is asked to.

    Python raises KeyboardInterrupt wherever it happens to be: in the middle of a commit, or in a callback that
    swallows it. Inside this block it is only noted, and `check` raises it.
    """

    def __init__(self) -> None:
        self.noted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOPS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if one was noted."""
        if self.noted:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.noted:
            os.write(2, b"\nInterrupted: ends at the next safe moment.\n")
        self.noted = True


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C from this thread: processes that are started meanwhile are born deaf to it and say nothing."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
