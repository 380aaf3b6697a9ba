"""Several devices, and a Dask cluster of real processes on loopback: the same store, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from featstore.encoders import load_encoder
from featstore.errors import FeatstoreError
from featstore.extract import on_dask, on_devices
from featstore.store import open_store
from tests.clusters import run_cluster, wait_for

# A worker that loads this can't read one image: all it hears is an error that is deeper than Dask can send.
BROKEN = """
import featstore.extract.loader as loader

def failing(path, read=loader.read_image):
    if path.name == "img_0003.png":
        return failing(path)
    return read(path)

if loader.read_image.__name__ == "read_image":
    loader.read_image = failing
"""


# A worker that loads this ends at one image.
DEADLY = """
import os
import featstore.extract.loader as loader

def deadly(path, read=loader.read_image):
    if path.name == "img_0003.png":
        os._exit(1)
    return read(path)

if loader.read_image.__name__ == "read_image":
    loader.read_image = deadly
"""


@pytest.fixture
def tiny(tiny_dinov2):
    return lambda: load_encoder("tiny", weights=tiny_dinov2, device="cpu", precision="float32")


def assert_same_store(one, other, atol=0.0):
    one, other = open_store(one), open_store(other)
    np.testing.assert_array_equal(one.keys, other.keys)
    np.testing.assert_allclose(one.embeddings(), other.embeddings(), atol=atol)
    assert dict(one.images) == dict(other.images)


def test_two_devices_have_a_process_each(challenge, run, tiny, children, tmp_path):
    run(challenge, tmp_path / "here.store", train=2, encoder=tiny())
    both = partial(on_devices, devices=["cpu", "cpu"])
    seen = set()

    def see(progress):
        seen.update(children())

    result = run(challenge, tmp_path / "both.store", train=2, encoder=tiny(), engine=both, progress=see)
    assert_same_store(tmp_path / "both.store", tmp_path / "here.store", atol=1e-5)
    assert result.how["device"] == "cpu"
    assert len(seen) == 2
    assert children() == []


def test_a_killed_device_process_ends_the_run_and_what_was_finished_is_stored(
    challenge, run, tiny, tissue, children, tmp_path
):
    for number in range(6, 20):
        tissue(challenge / "train_data", number)

    def kill(progress):
        if progress.images == 3:
            for child in children():
                os.kill(child, signal.SIGKILL)

    with pytest.raises(FeatstoreError, match=r"encoding process was killed.*Run the same command again"):
        run(
            *(challenge, tmp_path / "s.store"),
            train=40,
            encoder=tiny(),
            engine=partial(on_devices, devices=["cpu", "cpu"]),
            progress=kill,
        )
    there = len(open_store(tmp_path / "s.store"))
    assert there > 0
    result = run(challenge, tmp_path / "s.store", train=40, encoder=tiny())
    assert result.computed == len(open_store(tmp_path / "s.store")) - there


def test_device_processes_end_with_a_run_that_is_killed(challenge, tiny_dinov2, tmp_path):
    script = """
import sys
from functools import partial
from featstore.dataset import find_dataset
from featstore.encoders import load_encoder
from featstore.extract import Repeats, extract, on_devices
from featstore.recipe import Recipe
from featstore.store import create_store

def tell(progress):
    print("begun", flush=True)

if __name__ == "__main__":
    encoder = load_encoder("tiny", weights=sys.argv[2], device="cpu", precision="float32")
    recipe = Recipe(encoder.settings)
    with create_store(sys.argv[3], recipe.to_dict(), 24) as writer:
        engine = partial(on_devices, devices=["cpu", "cpu"])
        data = find_dataset(sys.argv[1])
        extract(data, encoder, recipe, writer, repeats=Repeats(2000), engine=engine, progress=tell)
"""
    (tmp_path / "run.py").write_text(script)
    command = [sys.executable, str(tmp_path / "run.py"), str(challenge), str(tiny_dinov2), str(tmp_path / "s.store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.kill()
    wait_for(lambda: _is_gone(process.pid), "the end of its processes")


def _is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers with nannies, as users have them: processes that are daemons."""
    with run_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        for _ in range(2):
            cluster.worker(nanny=True)
        yield cluster.ready(2)


def test_over_dask_it_is_the_same_store_bit_for_bit(challenge, run, cluster, tmp_path, monkeypatch):
    run(challenge, tmp_path / "here.store", train=2)
    monkeypatch.chdir(challenge.parent)  # paths that mean something else on a worker
    result = run(challenge.name, tmp_path / "dask.store", train=2, engine=partial(on_dask, cluster.address))
    assert_same_store(tmp_path / "dask.store", tmp_path / "here.store")
    assert result.computed == len(open_store(tmp_path / "here.store"))
    assert {"decode", "augment", "encode", "write"} <= result.stages.keys()


def test_a_model_and_loaders_of_its_own_on_each_worker(challenge, run, cluster, tiny, tmp_path):
    run(challenge, tmp_path / "here.store", train=2, encoder=tiny())
    engine = partial(on_dask, cluster.address)
    run(challenge, tmp_path / "dask.store", train=2, encoder=tiny(), engine=engine, workers=2)
    assert_same_store(tmp_path / "dask.store", tmp_path / "here.store", atol=1e-5)


def test_a_worker_killed_half_way(challenge, run, tissue, tmp_path):
    for number in range(6, 30):
        tissue(challenge / "train_data", number)
    run(challenge, tmp_path / "here.store", train=2)
    with run_cluster(tmp_path) as cluster:
        workers = [cluster.worker() for _ in range(2)]
        cluster.ready(2)

        def kill(progress):
            if progress.images == progress.of // 2:
                workers[0].kill()

        engine = partial(on_dask, cluster.address)
        result = run(challenge, tmp_path / "dask.store", train=2, engine=engine, progress=kill)
        assert workers[0].wait() == -signal.SIGKILL
    assert_same_store(tmp_path / "dask.store", tmp_path / "here.store")
    assert result.computed == len(open_store(tmp_path / "here.store"))


def test_an_image_that_fails_on_the_cluster_is_a_row_and_all_others_are_stored(challenge, run, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    with run_cluster(tmp_path) as cluster:
        cluster.worker("--preload", tmp_path / "broken.py")
        cluster.ready(1)
        result = run(challenge, tmp_path / "s.store", engine=partial(on_dask, cluster.address))
    (row,) = result.rejected
    assert (row["image"], row["reason"]) == ("train_data/img_0003.png", "failed")
    assert "RecursionError" in row["note"]
    assert len(open_store(tmp_path / "s.store")) == 7 * 2
    assert run(challenge, tmp_path / "s.store").computed == 2


def test_an_image_that_kills_workers_is_a_row_and_all_others_are_stored(challenge, run, tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    with run_cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="3") as cluster:
        cluster.worker("--preload", tmp_path / "deadly.py", nanny=True)
        cluster.ready(1)
        result = run(challenge, tmp_path / "s.store", engine=partial(on_dask, cluster.address))
    (row,) = result.rejected
    assert (row["image"], row["reason"]) == ("train_data/img_0003.png", "failed")
    assert "KilledWorker" in row["note"]
    assert len(open_store(tmp_path / "s.store")) == 7 * 2


def test_a_scheduler_that_goes_away_half_way(challenge, run, tissue, tmp_path):
    for number in range(6, 30):
        tissue(challenge / "train_data", number)
    with run_cluster(tmp_path) as cluster:
        cluster.worker()
        cluster.ready(1)

        def kill(progress):
            if progress.images == 5:
                cluster.scheduler.kill()

        with pytest.raises(FeatstoreError, match=r"connection to the Dask scheduler .* was lost"):
            run(challenge, tmp_path / "s.store", train=2, engine=partial(on_dask, cluster.address), progress=kill)
    assert 0 < len(open_store(tmp_path / "s.store")) < 32 * 2 * 3


def test_ctrl_c_over_dask(challenge, cluster, tissue, tmp_path):
    for number in range(6, 40):
        tissue(challenge / "train_data", number)
    command = [sys.executable, "-c", "from featstore_cli.app import app; app()", "extract", str(challenge)]
    options = ["--store", str(tmp_path / "s.store"), "--encoder", "stain-texture", "--repeats", "40"]
    commits = "from featstore.extract import run; run.COMMIT_SECONDS = 0.0; "
    command[2] = commits + command[2]
    process = subprocess.Popen(
        [*command, *options, "--dask", cluster.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: (tmp_path / "s.store" / "versions" / "00000001.json").exists(), "a version")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    assert "distributed" not in err
    assert "What was finished is stored" in err
    assert len(open_store(tmp_path / "s.store")) > 0
