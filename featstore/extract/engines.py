"""The engines that a run may choose from: all devices of this machine, or a Dask cluster."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from signal import SIG_IGN, signal
from threading import Thread
from typing import TYPE_CHECKING, Any

from joblib import cpu_count

from featstore.cluster import connect
from featstore.cluster.versions import check_worker, versions_of
from featstore.encoders import ModelEncoder, own_devices, use_threads
from featstore.extract.elsewhere import Parcel, embed_parcel, forget
from featstore.extract.interrupts import STOPS, interrupts_blocked
from featstore.extract.plan import ImageJob
from featstore.extract.spread import Spread
from featstore.extract.station import Engine, Setup, Station

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["on_dask", "on_devices", "on_this_machine"]

_ASK_S = 2.0
"""How often to ask a cluster for its workers."""

_SAME = ("numpy", "opencv-python-headless")
"""What has a say in the bits of a pixel."""

_RETRIES = 2
"""How often Dask does a parcel again that failed."""


def on_this_machine(setup: Setup) -> AbstractContextManager[Engine]:
    """Embed on all devices of this machine that the encoder may use: one process each where there are several GPUs."""
    devices = own_devices(setup.encoder)
    return on_devices(setup, devices) if len(devices) > 1 else Station(setup)


@contextmanager
def on_devices(setup: Setup, devices: Sequence[str]) -> Iterator[Engine]:
    """Embed on several devices, a process each.

    Parameters
    ----------
    setup : Setup
        Its encoder must be one that runs on a device of one's choice.
    devices : sequence of str

    Yields
    ------
    Engine
    """
    context = get_context("spawn")
    held, lifeline = context.Pipe(duplex=False)
    names = context.SimpleQueue()
    for device in devices:
        names.put(device)
    pool = ProcessPoolExecutor(len(devices), context, _begin, (names, held))
    cores = max(1, int(cpu_count()) // len(devices))

    def submit(jobs: list[ImageJob]) -> Future[Parcel]:
        with interrupts_blocked():
            return pool.submit(_embed_on_own_device, setup, jobs, cores)

    try:
        yield Spread(submit, lambda: len(devices))
    finally:
        lifeline.close()  # whatever a process still does is not wanted any more
        pool.shutdown(cancel_futures=True)
        held.close()


@contextmanager
def on_dask(address: str, setup: Setup) -> Iterator[Engine]:
    """Embed on a Dask cluster; where its workers name a resource ``GPU``, each task takes one.

    Parameters
    ----------
    address : str
        As `featstore.cluster.connect` takes it.
    setup : Setup

    Yields
    ------
    Engine

    Raises
    ------
    FeatstoreError
        As `featstore.cluster.connect` does.
    """
    run = uuid.uuid4().hex
    with connect(address, same=_SAME) as client:
        workers, ours = _Workers(client), versions_of(_SAME)
        wanted = {} if setup.encoder.in_worker else workers.resources
        executor = client.get_executor(pure=False, retries=_RETRIES, **({"resources": wanted} if wanted else {}))

        def submit(jobs: list[ImageJob]) -> Future[Parcel]:
            future: Future[Parcel] = executor.submit(
                _embed_on_worker, run, setup, [_absolute(job) for job in jobs], workers.by_host, ours
            )
            return future

        try:
            yield Spread(submit, workers.count)
        finally:
            with suppress(Exception):  # a cluster that is gone has forgotten by itself
                executor.shutdown(wait=False)
                client.run(forget, run)


class _Workers:
    """The workers of a cluster, asked for now and then."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asked_at = time.monotonic()
        found = client.scheduler_info(n_workers=-1)["workers"]
        self.resources = {"GPU": 1} if any("GPU" in worker.get("resources", {}) for worker in found.values()) else {}
        self.by_host = dict(Counter(_host(name) for name in found))
        self._count = len(found)

    def count(self) -> int:
        """Tell how many there are."""
        if time.monotonic() - self._asked_at > _ASK_S:
            self._count, self._asked_at = len(self._client.nthreads()), time.monotonic()
        return self._count


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _absolute(job: ImageJob) -> ImageJob:
    """Name files by paths that mean the same in another folder."""
    record = job.record
    mask = record.mask_path.absolute() if record.mask_path else None
    return replace(job, record=replace(record, path=record.path.absolute(), mask_path=mask))


def _embed_on_worker(
    run: str, setup: Setup, jobs: Sequence[ImageJob], by_host: dict[str, int], ours: dict[str, str]
) -> Parcel:
    """Run on a Dask worker: on a CPU its threads are the encoder's; for a GPU it takes its share of the machine."""
    from distributed import get_worker

    worker = get_worker()
    check_worker(worker.address, versions_of(_SAME), ours)  # it may have come later than the others
    threads = worker.state.nthreads
    share = int(cpu_count()) // by_host.get(_host(worker.address), 1)
    if not setup.encoder.in_worker:
        use_threads(threads)
    return embed_parcel(run, setup, jobs, threads if setup.encoder.in_worker else max(threads, share))


_own: dict[str, str] = {}
"""The device of this process, where it is one of several."""


def _begin(names: Any, lifeline: Connection) -> None:
    """Begin a process of `on_devices`: it ends with the main process, which alone answers Ctrl-C."""
    for number in STOPS:
        signal(number, SIG_IGN)
    _own["device"] = names.get()
    Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(0)


def _embed_on_own_device(setup: Setup, jobs: Sequence[ImageJob], cores: int) -> Parcel:
    encoder = setup.encoder
    if isinstance(encoder, ModelEncoder):
        setup = replace(setup, encoder=replace(encoder, wanted_device=_own["device"]))
    if _own["device"] == "cpu":
        use_threads(cores)
    return embed_parcel("here", setup, jobs, cores)
