"""What goes wrong with a cluster: each in one plain message, and Dask's own log kept out of the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from featstore.errors import FeatstoreError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Watch", "plain_losses", "silence", "without_workers"]

POLL_S = 2.0
"""How often to see whether there are workers."""

LOGGERS = ("distributed", "tornado", "asyncio", "bokeh")
"""What Dask logs under; some loggers below these have a level of their own."""


def without_workers(target: str, workers_s: float) -> FeatstoreError:
    """Make the error for a cluster without workers."""
    return FeatstoreError(
        f"the Dask cluster at {target} has no workers (waited {workers_s:g} s)",
        remedy=f"Start some (dask worker {target}) and run the same command again.",
    )


class Watch(Thread):
    """Ends the work when the last worker has gone and none has come for a while: Dask would wait for ever."""

    def __init__(self, client: Client, workers_s: float) -> None:
        super().__init__(name="featstore-cluster-watch", daemon=True)
        self.client, self.workers_s = client, workers_s
        self.over, self.deserted = Event(), False

    def run(self) -> None:
        """Look now and then, until the work is over."""
        seen = time.monotonic()
        while not self.over.wait(min(POLL_S, self.workers_s / 4)):
            # Without its scheduler the client can't tell; whoever waits for a result hears of that by other means.
            with suppress(Exception):
                if self.client.nthreads():
                    seen = time.monotonic()
                elif time.monotonic() - seen > self.workers_s:
                    self.deserted = True
                    self.client.close()
                    return


@contextmanager
def plain_losses(distributed: Any, client: Client, watch: Watch, target: str) -> Iterator[None]:
    """Turn what Dask raises when a cluster breaks down into one message."""
    try:
        yield
    except FeatstoreError:
        raise
    except distributed.KilledWorker as error:
        raise FeatstoreError(
            f"one Dask worker after another died at the same task, {error.last_worker.address} the last",
            remedy="Most often memory was too small: see the workers' logs, and give each more (--memory-limit).",
        ) from error
    except Exception as error:
        if watch.deserted:
            raise without_workers(target, watch.workers_s) from error
        if client.status != "running" or getattr(error, "reason", "") == "scheduler-connection-lost":
            raise FeatstoreError(
                f"the connection to the Dask scheduler at {target} was lost",
                remedy="See whether it still runs, and run the same command again.",
            ) from error
        if isinstance(error, (CancelledError, distributed.comm.CommClosedError)):
            raise FeatstoreError(
                f"Dask workers at {target} are gone, and with them the data that were sent to them",
                remedy="See why they ended, and run the same command again.",
            ) from error
        raise


@contextmanager
def silence() -> Iterator[None]:
    """Keep Dask's log to itself in this process: heartbeats, reconnects, and tracebacks of what is told anyway."""
    above = tuple(f"{name}." for name in LOGGERS)
    below = [name for name in logging.Logger.manager.loggerDict if name.startswith(above)]
    loggers = [logging.getLogger(name) for name in (*LOGGERS, *below)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
