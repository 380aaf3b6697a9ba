"""One core for everybody inside, until the last one has left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from featstore.toolkit.threads import jobs_for, one_core


def _threads(kind):
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == kind}


@pytest.fixture(autouse=True)
def two_threads():
    """A machine of two cores or more, whatever this one has."""
    with threadpool_limits(limits=2):
        yield


def test_one_thread_within_and_as_many_as_before_afterwards():
    before = _threads("blas"), _threads("openmp")
    assert before == ({2}, {2})
    with one_core():
        assert (_threads("blas"), _threads("openmp")) == ({1}, {1})
        with one_core():
            pass
        assert (_threads("blas"), _threads("openmp")) == ({1}, {1})
    assert (_threads("blas"), _threads("openmp")) == before


def test_an_error_within_lifts_the_limit_too():
    with pytest.raises(ValueError, match="mine"), one_core():
        raise ValueError("mine")
    assert _threads("blas") == {2}


def test_a_thread_that_leaves_first_does_not_lift_the_limit_of_another():
    entered, left, checked = Event(), Event(), Event()

    def stay():
        with one_core():
            entered.set()
            assert left.wait(10)
            found = _threads("blas"), _threads("openmp")
            checked.set()
            return found

    def leave():
        assert entered.wait(10)
        with one_core():
            pass
        left.set()
        assert checked.wait(10)

    with ThreadPoolExecutor(2) as threads:
        staying, leaving = threads.submit(stay), threads.submit(leave)
        leaving.result(20)
        assert staying.result(20) == ({1}, {1})
    assert _threads("blas") == {2}


def test_what_was_loaded_after_the_first_entered_is_limited_for_the_next():
    with one_core(), threadpool_limits(limits=2, user_api="blas"):  # as a library that has just been loaded
        assert _threads("blas") == {2}
        with one_core():
            assert _threads("blas") == {1}


@pytest.mark.parametrize(
    ("tasks", "n_jobs", "expected"), [(3, 10, 3), (3, 2, 2), (3, None, None), (3, -1, -1), (3, np.int64(5), 3)]
)
def test_there_are_no_more_jobs_than_tasks(tasks, n_jobs, expected):
    assert jobs_for(tasks, n_jobs) == expected
