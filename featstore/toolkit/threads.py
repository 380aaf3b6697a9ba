"""Processes and cores: one for each fold at most, and one core for numerics, whatever the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import threadpoolctl
from joblib import Parallel
from threadpoolctl import ThreadpoolController

__all__ = ["jobs_for", "one_core", "side_by_side"]


def jobs_for(tasks: int, n_jobs: int | None) -> int | None:
    """Return an ``n_jobs`` that starts no process without a task; what is no number of processes stays as it is."""
    return min(n_jobs, tasks) if n_jobs is not None and n_jobs > 0 else n_jobs


def side_by_side(tasks: Sequence[Any], n_jobs: int | None) -> Iterator[Any]:
    """Run delayed calls as joblib is configured, and return what comes of them in their order, as soon as it is there.

    All are handed out at once: a cluster that grows on demand is to see what there is to do.
    """
    done = Parallel(n_jobs=jobs_for(len(tasks), n_jobs), return_as="generator", pre_dispatch="all")(tasks)
    return iter(done)


class _Shared:
    """The limit of BLAS: one for the whole process, so it is lifted when the last thread leaves."""

    def __init__(self) -> None:
        self.lock, self.inside = Lock(), 0
        self.limits: list[Any] = []

    def enter(self, libraries: ThreadpoolController) -> None:
        with self.lock:
            self.inside += 1
            _let_any_thread_set()
            # Set again by everyone who enters: more libraries may have been loaded since the first did.
            self.limits.append(libraries.limit(limits=1))

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                _let_any_thread_set()
                while self.limits:
                    self.limits.pop().restore_original_limits()
            _let_any_thread_set()


_blas = _Shared()


@contextmanager
def one_core() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread, so that sums are in one order and results the same to the byte.

    It may be entered by several threads at once, as where a Dask worker has some: one that is done does not give the
    others their cores back, as `threadpool_limits` alone would.
    """
    libraries = ThreadpoolController()
    _blas.enter(libraries.select(user_api="blas"))
    try:
        with libraries.select(user_api="openmp").limit(limits=1):  # each thread has its own number
            yield
    finally:
        _blas.leave()


def _let_any_thread_set() -> None:
    """Since threadpoolctl 3.8 OpenBLAS heeds only the thread that set a number first; others are ignored in silence."""
    clear = getattr(getattr(threadpoolctl, "OpenBLASController", None), "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)
