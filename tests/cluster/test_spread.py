"""joblib on a cluster: what is sent, where it runs, and what comes back when something breaks."""

from __future__ import annotations

import math
import operator
import os
import time
from importlib.metadata import version
from threading import Timer

import numpy as np
import pytest
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from featstore.cluster import spread_over
from featstore.errors import FeatstoreError
from featstore.toolkit import FoldEnsemble, MeanPool
from tests.clusters import wait_for


def _shared(client):
    """The types of what was shared."""
    return [key.partition("-")[0] for key in client.who_has() if "featstore" not in key]


def test_scikit_learn_runs_there_and_what_is_within_in_its_own_thread(cluster, bags):
    model = FoldEnsemble(make_pipeline(MeanPool(), LogisticRegression()), n_splits=2, n_jobs=2, random_state=0)
    here = cross_val_score(model, bags, bags.labels, cv=3)
    with spread_over(cluster.address, share=[bags]):
        np.testing.assert_array_equal(cross_val_score(model, bags, bags.labels, cv=3), here)


def test_what_is_shared_is_sent_once(cluster, bags):
    with spread_over(cluster.address, share=[bags]) as client:
        assert _shared(client) == ["Bags"]
        assert Parallel()(delayed(len)(bags) for _ in range(6)) == [60] * 6
        assert _shared(client) == ["Bags"]


def test_big_arrays_are_sent_once_and_forgotten(cluster):
    big = np.arange(200_000)
    with spread_over(cluster.address) as client:
        done = Parallel(return_as="generator")(delayed(np.take)(a=big, indices=place) for place in range(6))
        assert next(done) == 0
        assert _shared(client) == ["ndarray"]
        assert list(done) == list(range(1, 6))
        wait_for(lambda: not _shared(client), "the array to be forgotten")


def test_an_error_in_a_task_comes_back_as_it_is_and_says_where_it_was(cluster):
    with spread_over(cluster.address):
        with pytest.raises(ZeroDivisionError, match="division") as caught:
            Parallel()(delayed(operator.truediv)(1, n) for n in (1, 0))
        assert "On the Dask worker tcp://" in caught.value.__notes__[0]
        assert "Traceback" in caught.value.__notes__[0]
        assert Parallel()(delayed(operator.truediv)(1, n) for n in (1, 2)) == [1, 0.5]


def test_an_error_of_a_thousand_frames_comes_back_too(cluster):
    """Dask by itself sends nothing in this case, and one would wait for ever."""

    def deep(n):
        return deep(n) + 1

    with spread_over(cluster.address):
        with pytest.raises(RecursionError):
            Parallel()(delayed(deep)(n) for n in range(3))


def test_joblib_is_as_before_whatever_happens(cluster):
    before = type(get_active_backend()[0])
    with spread_over(cluster.address):
        assert type(get_active_backend()[0]) is not before
    with pytest.raises(ValueError, match="mine"), spread_over(cluster.address):
        raise ValueError("mine")
    assert type(get_active_backend()[0]) is before


def test_a_worker_with_other_numerics_is_refused(cluster, monkeypatch):
    ours = version("xgboost")
    monkeypatch.setattr(
        "featstore.cluster.versions.version", lambda name: "9.9" if name == "xgboost" else version(name)
    )
    with pytest.raises(FeatstoreError, match=f"has xgboost {ours}; expected xgboost 9.9, as here"):
        with spread_over(cluster.address):
            pass


def test_a_worker_that_comes_later_is_looked_at_too(cluster, monkeypatch):
    with spread_over(cluster.address):
        monkeypatch.setattr("featstore.cluster.versions.version", lambda name: "9.9")
        with pytest.raises(FeatstoreError, match=r"the Dask worker tcp://\S+ has featstore .* expected featstore 9.9"):
            Parallel()(delayed(math.sqrt)(n) for n in range(3))


def test_a_task_that_ends_its_worker(make_cluster, capfd):
    cluster = make_cluster(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    cluster.worker()
    with pytest.raises(FeatstoreError, match=r"one Dask worker after another died at the same task.*--memory-limit"):
        with spread_over(cluster.address):
            Parallel()(delayed(os._exit)(1) for _ in range(3))
    assert capfd.readouterr() == ("", "")


def test_a_worker_of_one_thread_does_everything_until_it_ends(make_cluster, capfd):
    cluster = make_cluster()
    worker = cluster.worker()
    with pytest.raises(FeatstoreError, match=rf"{cluster.address} has no workers \(waited 1 s\)"):
        with spread_over(cluster.address, workers_s=1):
            assert os.getpid() not in Parallel()(delayed(os.getpid)() for _ in range(3))
            Timer(0.3, worker.kill).start()
            Parallel()(delayed(time.sleep)(60) for _ in range(3))
    assert capfd.readouterr() == ("", "")


def test_all_workers_end_and_with_them_what_was_shared(make_cluster, capfd):
    cluster = make_cluster()
    workers = [cluster.worker(), cluster.worker()]
    shared = {"seconds": 60}
    with pytest.raises(FeatstoreError, match=rf"{cluster.address} has no workers \(waited 1 s\)"):
        with spread_over(cluster.address, share=[shared], workers_s=1):
            Timer(0.3, lambda: [worker.kill() for worker in workers]).start()
            Parallel()(delayed(lambda given: time.sleep(given["seconds"]))(shared) for _ in range(3))
    assert capfd.readouterr() == ("", "")
