"""What runs in a process that embeds for another one: a station that stays from parcel to parcel."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from featstore.dataset.opencv import opencv
from featstore.errors import DataError, EncoderError, FeatstoreError, portable
from featstore.extract.loader import Loaded
from featstore.extract.plan import ImageJob
from featstore.extract.stages import Lanes
from featstore.extract.station import Setup, Station

__all__ = ["Parcel", "embed_parcel", "forget"]


@dataclass(frozen=True)
class Parcel:
    """Some images and what a station made of them.

    Attributes
    ----------
    images : list of Loaded
    how : dict
        Device, precision and versions.
    seconds : dict
        By stage, summed over processes.
    took_s : float
    lanes : Lanes
    station : str
        Which one it was.
    """

    images: list[Loaded]
    how: dict[str, Any]
    seconds: dict[str, float]
    took_s: float
    lanes: Lanes
    station: str


@dataclass
class _Held:
    """The station of this process: one at a time, because its encoder fills the device."""

    lock: Lock = field(default_factory=Lock)
    run: str = ""
    over: str = ""
    name: str = ""
    station: Station | None = None

    def of(self, run: str, setup: Setup, cores: int) -> Station:
        """Give the station of a run, made when it is first asked for."""
        if self.station is None or self.run != run:
            self.drop()
            opencv().setNumThreads(1)  # the cores are taken by others of its kind
            station = Station(setup, cores=cores)
            try:
                station.__enter__()
            except FeatstoreError:
                raise
            except Exception as error:
                found = f"the encoder can't start on {platform.node()} ({type(error).__name__}: {error})"
                raise EncoderError(found, remedy="Free its device, or go on without this machine.") from error
            self.run, self.name, self.station = run, uuid.uuid4().hex, station
        return self.station

    def tidy(self) -> None:
        """End the station of a run that is over, unless it is at work: then it is ended afterwards."""
        if self.run == self.over and self.lock.acquire(blocking=False):
            try:
                self.drop()
            finally:
                self.lock.release()

    def drop(self) -> None:
        """End the station, if there is one."""
        station, self.station = self.station, None
        if station is not None:
            station.__exit__(None, None, None)


_held = _Held()


def embed_parcel(run: str, setup: Setup, jobs: Sequence[ImageJob], cores: int) -> Parcel:
    """Embed some images in this process.

    Parameters
    ----------
    run : str
        The run they are of: the station stays while it is the same.
    setup : Setup
    jobs : sequence of ImageJob
    cores : int
        How many the station may take.

    Returns
    -------
    Parcel

    Raises
    ------
    DataError
        If a folder is not there: which is no fault of the files, but of the machine.
    """
    _require_folders(jobs)
    try:
        with _held.lock:
            try:
                return _embed(run, setup, jobs, cores)
            except Exception as error:  # noqa: BLE001 - raised below, as far as it can be sent
                failure = portable(error)
            _held.drop()
        raise failure
    finally:
        _held.tidy()


def _embed(run: str, setup: Setup, jobs: Sequence[ImageJob], cores: int) -> Parcel:
    started = time.perf_counter()
    images: list[Loaded] = []
    station = _held.of(run, setup, cores)
    before = station.seconds
    station.embed(jobs, images.append, lambda: None)
    seconds = {stage: spent - before.get(stage, 0.0) for stage, spent in station.seconds.items()}
    took_s = time.perf_counter() - started
    return Parcel(images, dict(station.how), seconds, took_s, station.lanes, _held.name)


def forget(run: str) -> None:
    """End the station of a run: now, or as soon as the parcel is done that it is at."""
    _held.over = run
    _held.tidy()


def _require_folders(jobs: Sequence[ImageJob]) -> None:
    for job in jobs:
        for path in (job.record.path, job.record.mask_path):
            if path is not None and not path.parent.is_dir():
                raise DataError(
                    f"the folder of {path} is not there on {platform.node()}",
                    expected="the same files under the same path on every machine",
                    remedy="Put the data on a file system that all machines share.",
                )
