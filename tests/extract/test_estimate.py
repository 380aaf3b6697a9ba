"""``--dry-run`` tells what the run then does."""

from __future__ import annotations

import pytest

from featstore.dataset import find_dataset
from featstore.extract import Repeats, Setup, Shard, Station, estimate
from featstore.extract import estimate as estimate_function
from featstore.recipe import Recipe
from featstore.store import create_store, open_store


@pytest.fixture
def ask(stain_texture):
    def go(data, store, *, train=0, test=0, dtype="float32", **keywords):
        recipe = Recipe(stain_texture.settings)
        writer = create_store(store, recipe.to_dict(), stain_texture.settings.dim, dtype=dtype)
        repeats = Repeats(train=train, test=test)
        return estimate(find_dataset(data), stain_texture, recipe, writer, repeats=repeats, dtype=dtype, **keywords)

    return go


def test_it_tells_what_the_run_then_does(challenge, run, ask, tmp_path):
    path = tmp_path / "s.store"
    before = ask(challenge, path, train=2)
    assert not path.exists()
    result = run(challenge, path, train=2)
    assert (before.images, before.blobs, before.to_compute, before.present) == (8, result.blobs, result.computed, 0)
    assert before.exact
    assert before.to_do == 8
    assert before.bytes == result.computed * 215 * 4
    assert before.seconds > 0


def test_what_is_there_is_not_counted_again(challenge, run, ask, tissue, tmp_path):
    path = tmp_path / "s.store"
    run(challenge, path, train=1)
    there = len(open_store(path))
    same = ask(challenge, path, train=1)
    assert (same.present, same.to_compute, same.to_do, same.seconds) == (there, 0, 0, 0.0)
    more = ask(challenge, path, train=3)
    assert (more.present, more.to_compute, more.to_do) == (there, 6 * 2 * 2, 6)
    tissue(challenge / "test_data", 9)
    assert ask(challenge, path, train=1).to_compute == 2
    assert open_store(path).version == 1


def test_half_precision_takes_half_and_a_shard_its_part(challenge, ask, tmp_path):
    whole = ask(challenge, tmp_path / "s.store")
    assert 2 * ask(challenge, tmp_path / "s.store", dtype="float16").bytes == whole.bytes
    assert ask(challenge, tmp_path / "s.store", shard=Shard(1, 4)).to_compute == whole.to_compute / 4


def test_of_many_images_a_sample_is_counted(challenge, ask, tissue, tmp_path, monkeypatch):
    for number in range(6, 40):
        tissue(challenge / "train_data", number, blobs=1 + number % 4)
    import sys

    monkeypatch.setattr(sys.modules[estimate_function.__module__], "SAMPLE", 12)
    found = ask(challenge, tmp_path / "s.store", train=1)
    assert not found.exact
    assert found.to_do == 42
    assert found.to_compute == pytest.approx(2 * (12 + 5 * 17) + 4, rel=0.35)


def test_images_that_cannot_be_used_count_for_nothing(challenge, ask, tmp_path):
    for path in (challenge / "train_data").glob("img_*"):
        path.write_bytes(b"")
    found = ask(challenge, tmp_path / "s.store", train=1)
    assert (found.to_compute, found.blobs) == (4, 4)


def test_the_warm_up_ends_by_itself(challenge, stain_texture, ask, tmp_path, monkeypatch):
    """It stops in the middle of the sample, and whatever was begun is left."""
    import sys

    monkeypatch.setattr(sys.modules[estimate_function.__module__], "WARM_UP_S", 0.0)
    stations = []

    def noted(setup: Setup) -> Station:
        stations.append(Station(setup))
        return stations[-1]

    assert ask(challenge, tmp_path / "s.store", train=9, workers=1, engine=noted).embeddings_per_s > 0
    assert stations[0].seconds.get("encode", 0.0) == 0.0  # the run did not get to its end
