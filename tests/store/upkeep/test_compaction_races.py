"""Compaction while others read and write: nothing that is committed meanwhile is lost."""

from __future__ import annotations

import threading
from importlib import import_module

import numpy as np
import pytest

from featstore.errors import StoreWriteError
from featstore.store import NewLabel, create_store, open_store, relabel, vacuum, verify

compacting = import_module("featstore.store.upkeep.compaction")
vacuuming = import_module("featstore.store.upkeep.vacuum")


def compact(path, **keywords):
    return vacuum(path, apply=True, compact=True, **keywords)


def while_compacting(monkeypatch, action) -> None:
    """Do something between the writing of the new segments and the commit of their version."""
    commit = compacting.commit

    def after(base, change):
        monkeypatch.setattr(compacting, "commit", commit)
        action()
        return commit(base, change)

    monkeypatch.setattr(compacting, "commit", after)


def add_repeats(helpers, path) -> None:
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.add("005", [0, 1], [1, 1], np.full((2, helpers.dim), 7.0))


MEANWHILE = {
    "an image is added": lambda helpers, path: helpers.append(path, "new", 99.0),
    "repeats are added": add_repeats,
    "an image is replaced": lambda helpers, path: helpers.append(path, "003", 33.0, facts={"sha256": "new"}),
    "a label is given": lambda _, path: relabel(path, [NewLabel("002", label="Z")]),
    "ten segments are added": lambda helpers, path: [helpers.append(path, f"more {n}", n) for n in range(10)],
}


@pytest.mark.parametrize("action", MEANWHILE.values(), ids=MEANWHILE)
def test_what_is_committed_meanwhile_is_not_lost(many, tmp_path, monkeypatch, helpers, action):
    path = many(8)
    twin = tmp_path / "twin.store"
    for number in range(8):
        helpers.append(twin, f"{number:03d}", number)
    action(helpers, twin)
    while_compacting(monkeypatch, lambda: action(helpers, path))
    compact(path)
    assert helpers.said_by(path) == helpers.said_by(twin)
    assert next(open_store(path).log())["operation"] == "compact"
    assert len(open_store(path).state.segments) < len(open_store(twin).state.segments)
    assert verify(path).ok


def test_of_two_compactions_at_once_one_gives_way(many, monkeypatch, helpers):
    path = many(6)
    before = helpers.said_by(path)
    while_compacting(monkeypatch, lambda: compact(path))
    with pytest.raises(StoreWriteError, match=r"what was to be replaced is gone.*another writer was faster"):
        compact(path)
    assert helpers.said_by(path) == before
    assert open_store(path).version == 7
    assert compact(path, grace_s=0).version == 7
    assert verify(path).ok


def test_a_writer_that_was_open_before_commits_after(many, helpers):
    path = many(6)
    writer = create_store(path, helpers.recipe, helpers.dim)
    assert writer.stored("001", ("", "")) == {(0, 0), (1, 0)}
    writer.add("001", [0, 1], [1, 1], np.ones((2, helpers.dim)))
    writer.add("late", [0], [0], np.ones((1, helpers.dim)))
    compact(path, grace_s=0, keep_versions=1)
    assert writer.commit() == 8
    store = open_store(path)
    assert len(store) == 6 * 2 + 3
    assert store.embeddings(images=["001"])[:, 0].tolist() == [1, 1, 1, 1]
    assert verify(path).ok


def test_a_reader_that_was_open_before_reads_on_within_the_time_of_grace(many):
    path = many(6)
    store = open_store(path)
    first = store.embeddings(images=["000"])
    compact(path, keep_versions=1)
    np.testing.assert_array_equal(store.embeddings()[:2], first)
    assert len(store) == 12


def test_vacuum_beside_a_writer(tmp_path, helpers):
    """Again and again, while another thread commits: nothing is lost, and nobody stumbles."""
    path, count = tmp_path / "x.store", 15
    helpers.append(path, "first", 0.0)
    thread = threading.Thread(target=lambda: [helpers.append(path, f"{n:03d}", n) for n in range(count)])
    thread.start()
    rounds = 0
    while thread.is_alive():
        vacuum(path, apply=True, compact=rounds % 2 == 1, grace_s=3600)
        rounds += 1
    thread.join()
    assert rounds > 2
    store = open_store(path)
    assert len(store) == 2 * (count + 1)
    assert store.embeddings()[:-2:2, 0].tolist() == list(range(count))
    assert verify(path).ok


def test_two_vacuums_at_once(many, monkeypatch, helpers):
    """What the other one removed meanwhile is none the worse for being gone."""
    path = many(5)
    before = helpers.said_by(path)
    needed = vacuuming._needed

    def after_the_other(*args):
        monkeypatch.setattr(vacuuming, "_needed", needed)
        vacuum(path, apply=True, grace_s=0, keep_versions=1)
        return needed(*args)

    monkeypatch.setattr(vacuuming, "_needed", after_the_other)
    vacuum(path, apply=True, grace_s=0, keep_versions=1)
    assert helpers.said_by(path) == before
    assert verify(path).ok
