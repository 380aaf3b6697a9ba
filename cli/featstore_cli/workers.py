"""The processes of a command: deaf to Ctrl-C, which this one answers, and plain words where one is killed.

Loads joblib, so commands import it only when they start such work.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from joblib import parallel_config
from joblib.parallel import LokyBackend

from featstore.errors import FeatstoreError

__all__ = ["working_here"]

_MANAGER = "ExecutorManagerThread"


@contextmanager
def working_here() -> Iterator[None]:
    """Let joblib work in processes of this machine.

    Raises
    ------
    FeatstoreError
        If one of them is killed.
    """
    deaf = _DeafWorkers(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        with _silent_once_stopped(), parallel_config(backend=deaf):
            yield
    except BrokenProcessPool as error:
        raise FeatstoreError(
            "a worker process was killed, most often for want of memory",
            remedy="Run the same command again with fewer at a time: --jobs 1 needs the least memory.",
        ) from error


class _DeafWorkers(LokyBackend):
    """Workers that never hear of Ctrl-C, which reaches every process of a terminal: only this one is to answer.

    Their initializer comes too late: it runs after a second of imports, in which Ctrl-C would print a traceback for
    each. So they are all started while this thread holds the signal back, and inherit that. Here it is only held
    back: it comes through as soon as they are started.
    """

    def configure(self, *args: Any, **kwargs: Any) -> Any:
        count = super().configure(*args, **kwargs)
        resource_tracker.ensure_running()  # here, since its start lets signals through again before Python 3.12
        return count

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        with _interrupts_held():  # the first task starts them; an empty one would have joblib take the next for a leak
            return super().submit(*args, **kwargs)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back, in this thread and in processes that it starts; then it has its way."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    noted: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))  # for what another thread gets
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if noted:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _silent_once_stopped() -> Iterator[None]:
    """Keep to itself what joblib's own thread says where work is stopped: its tasks are pulled from under it."""
    before = threading.excepthook
    held: list[threading.ExceptHookArgs] = []

    def hold(failure: threading.ExceptHookArgs) -> None:
        if failure.thread is not None and failure.thread.name == _MANAGER:
            held.append(failure)
        else:
            before(failure)

    threading.excepthook = hold
    stopped = False
    try:
        yield
    except (KeyboardInterrupt, BrokenProcessPool):
        stopped = True  # and the hook stays, since the thread may not have failed yet
        raise
    finally:
        if not stopped:
            threading.excepthook = before
            for failure in held:
                before(failure)
