"""What many tasks are given: sent to the workers once, and again if all that had it are gone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from featstore.cluster.failures import without_workers
from featstore.errors import FeatstoreError

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Place", "SharedData"]

BIG_BYTES = 1_000_000
"""Arrays from here on are worth sending once; as many as joblib maps into memory for processes on one machine."""

AGAIN_S = 1.0
"""How long to wait where a worker did not take its data: it may have ended, and the scheduler hears of that first."""


@dataclass(frozen=True)
class Place:
    """Stands in a task for the shared object of this number."""

    number: int


class SharedData:
    """Objects that stand in tasks as places, and on every worker as themselves.

    Parameters
    ----------
    client : distributed.Client
    objects : sequence
        Kept for good; big arrays that tasks bring are kept until `forget`.
    workers_s : float
        How long to wait for workers where there are none.
    """

    def __init__(self, client: Client, objects: Sequence[Any], workers_s: float) -> None:
        self.client, self.workers_s, self.lock = client, workers_s, Lock()
        self.address = str(client.scheduler_info()["address"])
        self.objects, self.n_kept = list(objects), len(objects)
        self.futures = [self._send(value) for value in objects]

    def stand_in(self, value: Any) -> Any:
        """Return the place of what is shared, and anything else as it is."""
        with self.lock:
            for number, known in enumerate(self.objects):
                if known is value:
                    return Place(number)
            if not isinstance(value, np.ndarray) or value.nbytes < BIG_BYTES:
                return value
            self.futures.append(self._send(value))
            self.objects.append(value)
            return Place(len(self.objects) - 1)

    def on_workers(self, lost: Sequence[Future[Any]] | None = None) -> list[Future[Any]]:
        """Return what a task is to be given.

        Parameters
        ----------
        lost : sequence of Future, optional
            What the task was given before, if it was lost with its workers: sent again, unless it has been for another.
        """
        with self.lock:
            if lost and self.futures and lost[0] is self.futures[0]:
                self.futures = [self._send(value) for value in self.objects]
            return list(self.futures)

    def forget(self) -> None:
        """Let go of what tasks have brought."""
        with self.lock:
            del self.objects[self.n_kept :], self.futures[self.n_kept :]

    def _send(self, value: Any, tries: int = 3) -> Future[Any]:
        """Send to one worker, which the others copy from; what the scheduler raises may be anything."""
        try:
            future: Future[Any] = self.client.scatter([value], broadcast=True, hash=False, timeout=self.workers_s)[0]
            return future
        except TimeoutError as error:
            raise without_workers(self.address, self.workers_s) from error
        except Exception as error:
            if self.client.status != "running":
                raise
            if tries > 1:
                time.sleep(AGAIN_S)
                return self._send(value, tries - 1)
            raise FeatstoreError(
                f"the data could not be sent to the Dask workers ({type(error).__name__}: {error})",
                remedy="See the workers' logs, and run the same command again.",
            ) from error
