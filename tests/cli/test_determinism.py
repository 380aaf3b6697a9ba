"""One seed, one model: whatever the threads, the jobs, and the order in which images came."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featstore.store import create_store, open_store
from featstore.toolkit import m5, save_model

FIT = "from featstore_cli.app import app; app()"
KINDS = ("HER2(+)", "Luminal A", "Luminal B")


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> list[Path]:
    """Write the same images twice, in opposite orders."""
    folder, rng = tmp_path_factory.mktemp("stores"), np.random.default_rng(0)
    images = []
    for number in range(30):
        blobs = np.repeat(np.arange(3), 3)
        rows = rng.standard_normal((9, 48)).astype(np.float32) + (number % 3) * 0.2
        images.append((f"img_{number:04d}.png", blobs, np.tile(np.arange(3), 3), rows, KINDS[number % 3]))
    paths = [folder / "a.store", folder / "b.store"]
    for path, ordered in zip(paths, (images, images[::-1]), strict=True):
        with create_store(path, {"seed": 0}, 48) as writer:
            for name, blob, repeat, rows, label in ordered:
                writer.add(name, blob, repeat, rows, label=label)
    return paths


def in_process(threads: int, *arguments: object) -> dict:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    done = subprocess.run(
        [sys.executable, "-c", FIT, *map(str, arguments), "--json"],
        env=os.environ | dict.fromkeys(names, str(threads)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_threads_jobs_and_order_change_no_byte_of_a_model(stores, tmp_path):
    for number, store in enumerate(stores):
        model, jobs = tmp_path / f"{number}.model", number + 1
        in_process(2 * number + 1, "fit", store, "--folds", 2, "--jobs", jobs, "--model", model)
    assert (tmp_path / "0.model").read_bytes() == (tmp_path / "1.model").read_bytes()


def test_bags_in_any_order_give_the_same_model(stores, tmp_path):
    bags = open_store(stores[0]).bags()
    shuffled = np.random.default_rng(1).permutation(len(bags))
    models = []
    for number, order in enumerate((np.arange(len(bags)), shuffled)):
        some = bags[order]
        models.append(m5(0, 2).fit(some, some.labels))
        save_model(models[-1], tmp_path / f"{number}.model")
    np.testing.assert_array_equal(models[1].folds_, models[0].folds_[shuffled])
    np.testing.assert_array_equal(models[1].oof_probabilities_, models[0].oof_probabilities_[shuffled])
    straight, turned = models
    for one, two in zip(straight.estimators_, turned.estimators_, strict=True):
        np.testing.assert_array_equal(two.predict_proba(bags), one.predict_proba(bags))
