"""A client of a Dask cluster that is fit for work."""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from featstore.cluster.failures import Watch, plain_losses, silence, without_workers
from featstore.cluster.versions import compare_versions
from featstore.errors import FeatstoreError, SettingError
from featstore.extras import require_extra

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CONNECT_S", "WORKERS_S", "connect"]

CONNECT_S = 10.0
"""How long a scheduler may take to answer."""

WORKERS_S = 30.0
"""How long a cluster may be without workers: one that grows on demand starts one in this time."""

CLOSE_S = 2.0
"""How long to say goodbye to a scheduler, which may be gone."""

ADDRESS = re.compile(r"((tcp|tls|ucx|wss?)://)?([^\s/:\[\]]+|\[[0-9a-fA-F:.]+\]):\d{1,5}/?")


@contextmanager
def connect(
    address: str, *, same: Sequence[str] = (), connect_s: float = CONNECT_S, workers_s: float = WORKERS_S
) -> Iterator[Client]:
    """Yield a client of a Dask cluster that has workers, all of them with this featstore and this Python.

    Within the context Dask's own log is silent in this process, and whatever the cluster does (the scheduler goes
    away, no worker is left, a task kills one worker after another) ends in one `FeatstoreError`.

    Parameters
    ----------
    address : str
        ``tcp://host:8786``, ``host:8786``, or the path of a scheduler file
        (``dask scheduler --scheduler-file scheduler.json``).
    same : sequence of str, optional
        Further packages whose version must be the same here and on every worker.
    connect_s, workers_s : float
        How long to wait for the scheduler, and for workers where there are none.

    Yields
    ------
    distributed.Client

    Raises
    ------
    MissingExtraError
        If ``distributed`` is not installed.
    SettingError
        If ``address`` is neither an address nor a scheduler file.
    FeatstoreError
        If nobody answers there, there are no workers, or they have another featstore or Python, or other versions of
        what is to be the ``same``.
    """
    target = _target(address)
    distributed = require_extra("distributed", "dask", "a Dask cluster needs")
    with silence():
        client = _client(distributed, target, connect_s)
        watch = Watch(client, workers_s)
        try:
            with plain_losses(distributed, client, watch, target):
                _await_workers(client, target, workers_s)
                compare_versions(client, same)
                watch.start()
                yield client
        finally:
            watch.over.set()
            with suppress(Exception):  # what was to be told has been
                client.close(timeout=CLOSE_S)


def _target(address: str) -> str:
    """Return an address as it is, or the one in a scheduler file."""
    if ADDRESS.fullmatch(address):
        return address
    path = Path(address)
    if not path.is_file():
        raise SettingError(
            f"no address of a Dask scheduler, and no file: {address}",
            expected="host:8786, tcp://host:8786, or the file that dask scheduler --scheduler-file wrote",
        )
    with suppress(OSError, ValueError, KeyError, TypeError):
        target = json.loads(path.read_bytes())["address"]
        if ADDRESS.fullmatch(target):
            return str(target)
    raise SettingError(
        f"{path}: no scheduler's address in this file", expected="what dask scheduler --scheduler-file wrote"
    )


def _client(distributed: Any, target: str, connect_s: float) -> Client:
    try:
        found = _identity(distributed, target, connect_s)["type"]
        if found == "Scheduler":
            with warnings.catch_warnings():
                # What must be the same on both sides is compared below.
                warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
                client: Client = distributed.Client(target, timeout=connect_s, set_as_default=False)
                return client
    except Exception as error:
        raise FeatstoreError(
            f"no Dask scheduler answers at {target} ({_why(error, connect_s)})",
            remedy="See whether one runs there (dask scheduler), and whether this machine can reach it.",
        ) from error
    raise FeatstoreError(f"{target} is a Dask {found.lower()}", expected="a scheduler")


def _why(error: Exception, connect_s: float) -> str:
    if isinstance(error, TimeoutError) or str(error).startswith("Timed out"):
        return f"waited up to {connect_s:g} s"
    if isinstance(error, MemoryError):  # what came was taken for the length of more
        return "something else does"
    return str(error) or type(error).__name__


def _identity(distributed: Any, target: str, connect_s: float) -> dict[str, Any]:
    """Ask who is there. A client would wait for ever where something listens that never answers."""

    async def ask() -> Any:
        options = distributed.Security().get_connection_args("client")
        async with distributed.rpc(target, timeout=connect_s, connection_args=options) as remote:
            return await remote.identity()

    def run() -> None:
        try:
            answer.set_result(asyncio.run(asyncio.wait_for(ask(), connect_s)))
        except Exception as error:  # noqa: BLE001 - raised again where the answer is waited for
            answer.set_exception(error)

    answer: Future[dict[str, Any]] = Future()
    Thread(target=run, daemon=True).start()  # a notebook runs a loop in this one
    return answer.result()


def _await_workers(client: Client, target: str, workers_s: float) -> None:
    """Wait until a task is done: where a cluster grows on demand, only a task makes a worker start."""
    if client.nthreads():
        return
    try:
        client.submit(int, pure=False).result(timeout=workers_s)
    except TimeoutError as error:
        raise without_workers(target, workers_s) from error
