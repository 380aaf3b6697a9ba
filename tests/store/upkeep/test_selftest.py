"""The self-test of writing and reading a store."""

from __future__ import annotations

import tempfile

import pytest

from featstore.store.upkeep import selftest


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_store_is_written_and_read_and_nothing_of_it_stays(temporary):
    row = selftest.check_store()
    assert row["ok"], row["detail"]
    assert list(temporary.iterdir()) == []


def test_a_disk_that_changes_a_bit_is_found_out(temporary, monkeypatch, helpers):
    verify = selftest.verify

    def after_damage(path):
        helpers.flip(next((path / "segments").iterdir()), -20)
        return verify(path)

    monkeypatch.setattr(selftest, "verify", after_damage)
    row = selftest.check_store()
    assert not row["ok"]
    assert ".h5" in row["detail"]


def test_numbers_that_are_not_those_written_are_found_out(temporary, monkeypatch):
    open_store = selftest.open_store

    class Wrong:
        def __init__(self, path):
            self.store = open_store(path)

        def embeddings(self):
            return self.store.embeddings()[::-1]

    monkeypatch.setattr(selftest, "open_store", Wrong)
    row = selftest.check_store()
    assert (row["ok"], "other numbers" in row["detail"]) == (False, True)


def test_nowhere_to_write_is_a_failed_check(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    row = selftest.check_store()
    assert not row["ok"]
    assert "nowhere" in row["detail"]
