"""One core for numerics, whatever the machine and however many folds are fitted at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

__all__ = ["one_core"]


class _Shared:
    """The limit of BLAS: one for the whole process, so it is lifted when the last thread leaves."""

    def __init__(self) -> None:
        self.lock, self.inside, self.limits = Lock(), 0, ExitStack()

    def enter(self) -> None:
        with self.lock:
            # Set again by everyone who enters: more libraries may have been loaded since the first did.
            self.limits.enter_context(threadpool_limits(limits=1, user_api="blas"))
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.limits.close()


_blas = _Shared()


@contextmanager
def one_core() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread, so that sums are in one order and results the same to the byte.

    It may be entered by several threads at once, as where a Dask worker has some: one that is done does not give the
    others their cores back, as `threadpool_limits` alone would.
    """
    _blas.enter()
    try:
        with threadpool_limits(limits=1, user_api="openmp"):  # each thread has its own number
            yield
    finally:
        _blas.leave()
