"""Folds fitted on a cluster: the same model to the byte, wherever they ran and whatever ended meanwhile."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featstore.cluster import spread_over
from featstore.toolkit import FoldEnsemble, MeanPool


@pytest.fixture
def light():
    """An ensemble that costs a worker neither torch nor XGBoost."""
    return FoldEnsemble(make_pipeline(MeanPool(), LogisticRegression()), n_splits=6, random_state=0)


def _fit(ensemble, bags, address, **options):
    with spread_over(str(address), share=[bags], **options):
        return ensemble.fit(bags, bags.labels)


def _disturbed(gate, n_workers, disturb, fit):
    """Fit; as soon as all workers are in a fold, disturb them and let the folds go on."""

    def when_started():
        pids = gate.wait_for(n_workers)
        disturb(pids)
        gate.open()

    with ThreadPoolExecutor() as threads:
        disturbance = threads.submit(when_started)
        try:
            return fit()
        finally:
            disturbance.result()


def _kill_one(pids):
    os.kill(pids[0], signal.SIGKILL)


def test_two_workers_fit_the_same_model(cluster, ensemble, bags, bytes_of, expected):
    assert bytes_of(_fit(ensemble(), bags, cluster.address)) == expected


def test_a_worker_killed_half_way_changes_nothing(make_cluster, gate, light, bags, bytes_of):
    cluster = make_cluster()
    for _ in range(2):
        cluster.worker("--preload", gate.preload)
    cluster.ready(2)
    model = _disturbed(gate, 2, _kill_one, lambda: _fit(light, bags, cluster.address))
    assert bytes_of(model) == bytes_of(light.set_params(n_jobs=1).fit(bags, bags.labels))


def test_a_worker_of_two_threads_fits_the_same_model_also_when_killed_and_started_again(
    make_cluster, gate, ensemble, light, bags, bytes_of, expected
):
    cluster = make_cluster()
    cluster.worker("--preload", gate.preload, threads=2, nanny=True)
    gate.open()
    assert bytes_of(_fit(ensemble(), bags, cluster.file)) == expected
    with gate.closed():
        model = _disturbed(gate, 1, _kill_one, lambda: _fit(light, bags, cluster.file))
    assert bytes_of(model) == bytes_of(light.set_params(n_jobs=1).fit(bags, bags.labels))
