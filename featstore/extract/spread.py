"""Many stations at work: images are given out in parcels to other processes, and come back with their embeddings."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from featstore.errors import FeatstoreError
from featstore.extract.elsewhere import Parcel
from featstore.extract.loader import Loaded
from featstore.extract.plan import ImageJob
from featstore.extract.stages import Lanes
from featstore.extract.station import Check, Finished

__all__ = ["Spread"]

PARCEL_S = 10.0
"""How much work a parcel should be: much against the way there and back, little to do again when a machine is lost."""

_AHEAD = 2
"""Parcels for each station: the one at work, and the next."""

_TRIES = 2
"""How often an image may fail, whoever it is with."""

_LOOK_UP_S = 0.2


class Spread:
    """The engine over other processes, here or on a cluster.

    A parcel that fails is given out again, each of its images by itself: after all others, and with nothing else under
    way, because Dask suspects every task that a worker had been given when it died, those in its queue too. An image
    that fails the second time is set apart as failed.

    Parameters
    ----------
    submit : callable
        Sends jobs to some station and gives a future of what it makes of them (`embed_parcel`).
    stations : callable
        Tells how many stations there are now.
    """

    def __init__(self, submit: Callable[[list[ImageJob]], Future[Parcel]], stations: Callable[[], int]) -> None:
        self._submit, self._stations = submit, stations
        self._seconds: Counter[str] = Counter()
        self._lanes: dict[str, Lanes] = {}
        self._how: dict[str, frozenset[str]] = {}
        self._waiting: deque[ImageJob] = deque()
        self._failures: Counter[str] = Counter()
        self._images_per_s = 0.0

    @property
    def how(self) -> Mapping[str, Any]:
        """Device, precision and versions in use; where stations differ, all of them."""
        return {name: "; ".join(sorted(values)) for name, values in self._how.items()}

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by stage, summed over stations and their processes."""
        return dict(self._seconds)

    @property
    def lanes(self) -> Lanes:
        """How many processes do what, over all stations that have sent something back."""
        every = list(self._lanes.values()) or [Lanes()]
        loaders, cores = (sum(getattr(lanes, name) for lanes in every) for name in ("loaders", "cores"))
        return replace(every[0], encoders=len(every), loaders=loaders, cores=cores)

    def embed(self, jobs: Iterable[ImageJob], finished: Finished, check: Check) -> None:
        """Embed images, in whatever order they come.

        Raises
        ------
        FeatstoreError
            If stations can't go on.
        """
        self._waiting = deque(jobs)
        under_way: dict[Future[Parcel], list[ImageJob]] = {}
        while self._waiting or under_way:
            check()
            while self._waiting and len(under_way) < self._room():
                parcel = self._next_parcel()
                under_way[self._submit(parcel)] = parcel
            done, _ = wait(under_way, timeout=_LOOK_UP_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._receive(future, under_way.pop(future), finished)

    def _room(self) -> int:
        """Tell how many parcels may be under way."""
        return 1 if self._has_failed(self._waiting[0]) else _AHEAD * max(1, self._stations())

    def _has_failed(self, job: ImageJob) -> bool:
        return self._failures[job.record.image] > 0

    def _next_parcel(self) -> list[ImageJob]:
        """Take as many images as are `PARCEL_S` of work, fewer towards the end, so that all stations end together."""
        if self._has_failed(self._waiting[0]):
            return [self._waiting.popleft()]
        fair = len(self._waiting) // (_AHEAD * max(1, self._stations()))
        count = max(1, min(round(PARCEL_S * self._images_per_s), fair))
        parcel: list[ImageJob] = []
        while self._waiting and len(parcel) < count and not self._has_failed(self._waiting[0]):
            parcel.append(self._waiting.popleft())
        return parcel

    def _receive(self, future: Future[Parcel], jobs: list[ImageJob], finished: Finished) -> None:
        try:
            parcel = future.result()
        except BrokenProcessPool as error:
            raise FeatstoreError(
                "an encoding process was killed, most often for want of memory",
                remedy="What was finished is stored. Run the same command again to go on from there.",
            ) from error
        except (CancelledError, FeatstoreError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a machine met with
            for job in jobs:
                self._retry(job, error, finished)
            return
        self._note(parcel)
        for image in parcel.images:
            finished(image)

    def _retry(self, job: ImageJob, error: Exception, finished: Finished) -> None:
        self._failures[job.record.image] += 1
        if self._failures[job.record.image] < _TRIES:
            self._waiting.append(job)
            return
        image = Loaded(job, is_loaded=True)
        image.fail(error)
        finished(image)

    def _note(self, parcel: Parcel) -> None:
        self._images_per_s = len(parcel.images) / max(parcel.took_s, 1e-3)
        self._seconds.update(parcel.seconds)
        self._lanes[parcel.station] = parcel.lanes
        for name, value in parcel.how.items():
            # Made anew, because the thread that writes may be reading.
            self._how = {**self._how, name: self._how.get(name, frozenset()) | {str(value)}}
