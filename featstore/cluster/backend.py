"""A backend for joblib that runs its tasks on a Dask cluster.

joblib has one of its own. It waits for ever where a task ends its worker, runs everything in this process where the
cluster has one thread, and gives labels to a single worker, with which they are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from traceback import format_exception
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from joblib import parallel_config
from joblib.parallel import ParallelBackendBase

from featstore.cluster.shared import Place, SharedData
from featstore.cluster.versions import check_worker, versions_of
from featstore.errors import portable

if TYPE_CHECKING:
    import distributed

__all__ = ["DaskBackend"]

SENDS = 4
"""How often a task is sent whose data were lost; as often as Dask tries one that ends its worker."""

Call = tuple[Callable[..., Any], Sequence[Any], Mapping[str, Any]]


class DaskBackend(ParallelBackendBase):
    """Runs joblib's tasks on the workers of a cluster, one in each of their threads.

    Parameters
    ----------
    client : distributed.Client
    share : sequence
        What many tasks are given, see `spread_over`.
    same : sequence of str
        Packages that a worker must have in this process's version, also one that comes later.
    workers_s : float
        How long to wait for workers where there are none.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self, client: distributed.Client, *, share: Sequence[Any], same: Sequence[str], workers_s: float
    ) -> None:
        super().__init__()
        self.client, self.same = client, same
        self.shared = SharedData(client, share, workers_s)
        self.running: dict[Future[Any], distributed.Future[Any]] = {}

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Count the cluster's threads. With 1, joblib would run the tasks in this process."""
        return max(2, int(sum(self.client.nthreads().values())))

    def submit(self, func: Any, callback: Callable[[Future[Any]], object] | None = None) -> Future[Any]:
        """Send a batch of calls; the callback gets what is returned here when it is done."""
        job: Future[Any] = Future()
        if callback is not None:
            job.add_done_callback(callback)
        calls = [
            (function, [self.shared.stand_in(value) for value in args], _map(self.shared.stand_in, named))
            for function, args, named in func.items
        ]
        self._send(_Task(calls, self.same), job)
        return job

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the results of a batch that is done, or raise what it raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Let go of all tasks: those that wait are forgotten, those that run end for nobody."""
        for job, future in list(self.running.items()):
            job.cancel()
            future.release()
        self.running.clear()

    def stop_call(self) -> None:
        """Let go of big arrays that were shared for one call of joblib's."""
        self.shared.forget()

    def _send(self, task: _Task, job: Future[Any], sends: int = SENDS, lost: Sequence[Any] | None = None) -> None:
        try:
            data = self.shared.on_workers(lost)
            future = self.client.submit(task, data, key=f"featstore-{uuid4().hex}", pure=False)
            self.running[job] = future
            future.add_done_callback(partial(self._done, task, job, sends - 1, data))
        except Exception as error:  # noqa: BLE001 - whoever waits for the job is to hear of it
            self._end(job, error=error)

    def _done(
        self, task: _Task, job: Future[Any], sends: int, data: Sequence[Any], future: distributed.Future[Any]
    ) -> None:
        """Pass on what became of a task; runs in a thread of Dask's, one task at a time."""
        if job.done():
            return
        error: Exception = CancelledError()
        if not future.cancelled():
            try:
                self._end(job, future.result())
                return
            except Exception as raised:  # noqa: BLE001 - raised again where the results are collected
                error = raised
        if isinstance(error, CancelledError) and sends and self.client.status == "running":
            self._send(task, job, sends, data)
        else:
            self._end(job, error=error)

    def _end(self, job: Future[Any], result: Any = None, error: Exception | None = None) -> None:
        self.running.pop(job, None)
        if job.set_running_or_notify_cancel():
            job.set_exception(error) if error is not None else job.set_result(result)


class _Task:
    """Calls whose shared arguments are filled in where they run."""

    def __init__(self, calls: Sequence[Call], same: Sequence[str]) -> None:
        self.calls, self.same, self.versions = calls, same, versions_of(same)

    def __call__(self, shared: Sequence[Any]) -> list[Any]:
        from distributed import get_worker

        worker = str(get_worker().address)
        check_worker(worker, versions_of(self.same), self.versions)
        try:
            return self._run(shared)
        except Exception as error:  # noqa: BLE001 - raised below
            error.add_note(f"On the Dask worker {worker}:\n{''.join(format_exception(error))}")
            failure = portable(error)
        raise failure

    def _run(self, shared: Sequence[Any]) -> list[Any]:
        def filled(value: Any) -> Any:
            return shared[value.number] if isinstance(value, Place) else value

        with parallel_config(backend="sequential"):  # a task has one thread
            return [function(*map(filled, args), **_map(filled, named)) for function, args, named in self.calls]


def _map(function: Callable[[Any], Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: function(value) for name, value in values.items()}
