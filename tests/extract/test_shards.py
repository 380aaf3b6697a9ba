"""Shards: parts of the images that different machines write into one store."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.dataset import find_dataset
from featstore.errors import SettingError
from featstore.extract import Shard
from featstore.store import open_store


@pytest.mark.parametrize("of", [1, 2, 3, 8, 20])
def test_shards_are_all_images_once_and_even(challenge, of):
    dataset = find_dataset(challenge)
    parts = [Shard(number, of).records(dataset) for number in range(1, of + 1)]
    assert sorted(record.image for part in parts for record in part) == sorted(r.image for r in dataset.records)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_order_of_the_images_does_not_count(challenge):
    dataset = find_dataset(challenge)
    turned = type(dataset)(dataset.root, dataset.layout, dataset.records[::-1], dataset.classes, ())
    assert {r.image for r in Shard(2, 3).records(dataset)} == {r.image for r in Shard(2, 3).records(turned)}


@given(st.integers(-2, 5), st.integers(-2, 5))
def test_only_parts_that_there_are(number, of):
    if 1 <= number <= of:
        Shard(number, of)
    else:
        with pytest.raises(SettingError, match="1/N to N/N"):
            Shard(number, of)


def test_shards_in_any_order_are_the_whole(challenge, run, tmp_path):
    run(challenge, tmp_path / "whole.store", train=2)
    results = [run(challenge, tmp_path / "parts.store", train=2, shard=Shard(n, 3)) for n in (3, 1, 2)]
    whole, parts = open_store(tmp_path / "whole.store"), open_store(tmp_path / "parts.store")
    np.testing.assert_array_equal(parts.keys, whole.keys)
    np.testing.assert_array_equal(parts.embeddings(), whole.embeddings())
    assert dict(parts.images) == dict(whole.images)
    assert sum(result.computed for result in results) == len(whole)
    assert [result.images for result in results] == [2, 3, 3]
    assert all(result.absent == [] for result in results)


def test_a_shard_without_images_is_no_error(challenge, run, tmp_path):
    assert run(challenge, tmp_path / "s.store", shard=Shard(12, 12)).images == 0


def test_a_whole_run_fills_what_shards_left(challenge, run, tmp_path):
    run(challenge, tmp_path / "s.store", train=1, shard=Shard(1, 2))
    there = len(open_store(tmp_path / "s.store"))
    run(challenge, tmp_path / "whole.store", train=1)
    whole = open_store(tmp_path / "whole.store")
    assert run(challenge, tmp_path / "s.store", train=1).computed == len(whole) - there
    np.testing.assert_array_equal(open_store(tmp_path / "s.store").embeddings(), whole.embeddings())


def test_shards_at_the_same_time(challenge, run, tmp_path):
    """Real processes that race for the versions of one store, as a job array does."""
    path = tmp_path / "s.store"
    app = "from featstore_cli.app import app; app()"
    command = [sys.executable, "-c", app, "extract", str(challenge), "--store", str(path), "--json"]
    options = ["--encoder", "stain-texture", "--repeats", "1", "--workers", "0", "--shard"]
    jobs = [
        subprocess.Popen(
            [*command, *options, f"{n}/4"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(1, 5)
    ]
    told = [job.communicate(timeout=120) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 4, told
    run(challenge, tmp_path / "whole.store", train=1)
    whole = open_store(tmp_path / "whole.store")
    assert sum(json.loads(out)["computed"] for out, _ in told) == len(whole)
    np.testing.assert_array_equal(open_store(path).keys, whole.keys)
    np.testing.assert_array_equal(open_store(path).embeddings(), whole.embeddings())
