"""Vacuum: only what no version needs goes, and whatever is removed or written anew, every row stays as it was."""

from __future__ import annotations

import os
from importlib import import_module

import numpy as np
import pytest

from featstore.errors import SettingError, StoreError, StoreFormatError, StoreNotFoundError
from featstore.store import NewLabel, create_store, open_store, pack, relabel, vacuum, verify
from featstore.store import writer as writing

vacuuming = import_module("featstore.store.upkeep.vacuum")


@pytest.fixture
def grown(tmp_path, helpers):
    """A store of some versions, an image each, and litter: a killed writer's segments and temporary files."""

    def make(versions: int = 5):
        path = tmp_path / "some.store"
        for number in range(versions):
            with create_store(path, helpers.recipe, helpers.dim) as writer:
                helpers.add_image(writer, number)
        return path

    return make


def add_litter(path, helpers, monkeypatch) -> set:
    """Leave behind what a writer leaves that is killed at the worst moments; return the files."""
    before = set(path.rglob("*"))
    with monkeypatch.context() as patched:
        patched.setattr(writing, "SEGMENT_BYTES", 1)
        patched.setattr(writing, "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError), create_store(path, helpers.recipe, helpers.dim) as writer:
            helpers.add_image(writer, 90)
            helpers.add_image(writer, 91)
    for folder in ("segments", "tables", "versions"):
        (path / folder / ".tmp-0123456789abcdef").write_bytes(b"half a file")
    (path / "tables" / f"{'0' * 32}.h5").write_bytes(b"a table whose version lost the race")
    return {file for file in path.rglob("*") if file.is_file()} - before


def make_old(*files, seconds: float = 2 * vacuuming.GRACE_S) -> None:
    for file in files:
        time = file.stat().st_mtime - seconds
        os.utime(file, (time, time))


def test_nothing_is_removed_unless_asked(grown, helpers, monkeypatch):
    path = grown()
    litter = add_litter(path, helpers, monkeypatch)
    make_old(*litter)
    before = helpers.contents(path)
    for keywords in ({}, {"grace_s": 0}, {"keep_versions": 1, "grace_s": 0}, {"compact": True}):
        told = vacuum(path, **keywords)
        assert not told.applied
        assert helpers.contents(path) == before
    assert set(vacuum(path).files) == litter
    assert vacuum(path).bytes == sum(file.stat().st_size for file in litter)


def test_litter_goes_and_versions_stay(grown, helpers, monkeypatch):
    path = grown()
    before, rows = helpers.contents(path), [helpers.said_by(path, version) for version in range(1, 6)]
    litter = add_litter(path, helpers, monkeypatch)
    assert len(litter) >= 5
    make_old(*litter)
    told = vacuum(path)
    done = vacuum(path, apply=True)
    assert (done.files, done.bytes) == (told.files, told.bytes)
    assert (done.applied, done.version, done.versions, done.waiting) == (True, 5, [], 0)
    assert helpers.contents(path) == before
    assert [helpers.said_by(path, version) for version in range(1, 6)] == rows
    assert vacuum(path, apply=True).files == []


def test_young_litter_waits(grown, helpers, monkeypatch):
    """It may be a writer's that is about to commit."""
    path = grown()
    litter = sorted(add_litter(path, helpers, monkeypatch))
    make_old(*litter[:2])
    make_old(*litter[2:], seconds=0.9 * vacuuming.GRACE_S)
    done = vacuum(path, apply=True)
    assert (sorted(done.files), done.waiting) == (litter[:2], len(litter) - 2)
    assert vacuum(path, apply=True, grace_s=0.5 * vacuuming.GRACE_S).waiting == 0
    assert not any(file.exists() for file in litter)


def test_what_others_put_there_is_not_touched(grown, helpers):
    path = grown()
    foreign = [
        path / "notes.txt",
        path / "segments" / "features.h5",
        path / "segments" / f"{'0' * 31}.h5",
        path / "segments" / f"{'0' * 32}.h5.bak",
        path / "versions" / "backup.json",
        path / "versions" / "00000001.json.orig",
        path / "versions" / "000000002.json",
        path / "segments" / ".tmp-folder" / "mine",
        path / "mine" / f"{'0' * 32}.h5",
    ]
    for file in foreign:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
        make_old(file)
    before = helpers.contents(path)
    assert vacuum(path, apply=True, grace_s=0).files == []
    assert helpers.contents(path) == before


@pytest.mark.parametrize("keep", [1, 2, 4, 5, 9])
def test_old_versions_go_and_the_newest_stay(grown, helpers, keep):
    path = grown(5)
    rows = {version: helpers.said_by(path, version) for version in range(1, 6)}
    gone = list(range(1, max(1, 6 - keep)))
    assert vacuum(path, grace_s=0, keep_versions=keep).versions == gone
    done = vacuum(path, apply=True, grace_s=0, keep_versions=keep)
    assert done.versions == gone
    for version in rows.keys() - set(gone):
        assert helpers.said_by(path, version) == rows[version]
    for version in gone:
        with pytest.raises(StoreNotFoundError, match=f"no version {version}; expected {gone[-1] + 1} to 5"):
            open_store(path, version)
    assert [entry["version"] for entry in open_store(path).log()] == [v for v in (5, 4, 3, 2, 1) if v not in gone]
    assert verify(path).ok
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        helpers.add_image(writer, 50)
    assert open_store(path).version == 6


def test_a_version_is_as_old_as_the_one_after_it(grown):
    """Version 3 was the newest until an hour ago, however long it had been: someone may be reading it."""
    path = grown(5)
    files = [path / "versions" / f"{number:08d}.json" for number in range(1, 6)]
    make_old(*files[:3])
    done = vacuum(path, apply=True, keep_versions=1)
    assert done.versions == [1, 2]
    make_old(files[4])
    assert vacuum(path, keep_versions=1).versions == []  # 4 is young, and no gap is made
    make_old(files[3])
    assert vacuum(path, keep_versions=2).versions == [3]
    assert vacuum(path, keep_versions=1).versions == [3, 4]


def test_a_damaged_version_stops_it_before_anything_is_removed(grown, helpers, monkeypatch):
    """What it needs is not known."""
    path = grown(4)
    make_old(*add_litter(path, helpers, monkeypatch))
    helpers.flip(path / "versions" / "00000003.json", 200)
    before = helpers.contents(path)
    with pytest.raises(StoreFormatError, match=r"00000003\.json"):
        vacuum(path, apply=True, grace_s=0, keep_versions=2)
    assert helpers.contents(path) == before
    assert vacuum(path, apply=True, grace_s=0, keep_versions=1).versions == [1, 2, 3]
    assert verify(path).ok


def test_a_table_that_cannot_be_read_stops_it_too(grown, helpers, monkeypatch):
    path = grown(4)
    make_old(*add_litter(path, helpers, monkeypatch))
    table = path / "tables" / open_store(path).state.tables[0].file
    helpers.flip(table, -50)
    before = helpers.contents(path)
    with pytest.raises(StoreFormatError, match=table.name):
        vacuum(path, apply=True, grace_s=0)
    assert helpers.contents(path) == before


def test_a_writer_whose_version_is_gone_loses_nothing(grown, helpers):
    """It was opened long ago; meanwhile others committed, and the version it was opened on was removed."""
    path = grown(3)
    for begun_on_nothing in (False, True):
        other = path.with_name(f"{begun_on_nothing}.store")
        if not begun_on_nothing:
            path.rename(other)
        writer = create_store(other, helpers.recipe, helpers.dim)
        helpers.add_image(writer, 60, label="late")
        for number in (70, 71):
            with create_store(other, helpers.recipe, helpers.dim) as second:
                helpers.add_image(second, number)
        vacuum(other, apply=True, grace_s=0, keep_versions=1)
        assert writer.commit() == open_store(other).version
        assert {"img_0060.png", "img_0070.png", "img_0071.png"} <= set(open_store(other).keys["image"])
        assert verify(other).ok


def test_a_file_that_is_written_and_committed_again_meanwhile_stays(grown, helpers, monkeypatch):
    """The same label was given by a command that was killed: its table is litter until it is given again."""
    path, labels = grown(1), [NewLabel("img_0000.png", label="Z")]
    with monkeypatch.context() as patched:
        patched.setattr("featstore.store.disk.commits.create_exclusively", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            relabel(path, labels)
    make_old(*(path / "tables").iterdir())
    remove = vacuuming.remove

    def after_someone_else(files):
        relabel(path, labels)
        remove(files)

    monkeypatch.setattr(vacuuming, "remove", after_someone_else)
    vacuum(path, apply=True)
    assert open_store(path).images["img_0000.png"].label == "Z"
    assert verify(path).ok


def test_stores_without_embeddings_or_without_litter(tmp_path, helpers):
    path = tmp_path / "empty.store"
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.register("broken.png", reason="unreadable")
    for keywords in ({}, {"compact": True}, {"apply": True, "compact": True, "keep_versions": 1, "grace_s": 0}):
        done = vacuum(path, **keywords)
        assert (done.version, done.files, done.segments_before, done.segments) == (1, [], 0, 0)


def test_what_cannot_be_vacuumed(grown, tmp_path):
    path = grown(1)
    pack(open_store(path), tmp_path / "packed.h5")
    before = (tmp_path / "packed.h5").read_bytes()
    with pytest.raises(StoreError, match=r"packed\.h5: .*packed"):
        vacuum(tmp_path / "packed.h5", apply=True, grace_s=0)
    assert (tmp_path / "packed.h5").read_bytes() == before
    with pytest.raises(StoreNotFoundError, match="no store there"):
        vacuum(tmp_path / "nowhere")
    for wrong in ({"grace_s": -1}, {"keep_versions": 0}, {"grace_s": float("nan")}):
        with pytest.raises(SettingError):
            vacuum(path, **wrong)
    np.testing.assert_array_equal(open_store(path).keys["blob"], [0, 0, 1, 1])


def test_a_linked_folder_is_another_stores(grown, tmp_path):
    path = grown(2)
    other = tmp_path / "other.store"
    with create_store(other, {"a": 1}, 3) as writer:
        writer.add("x.png", [0], [0], np.ones((1, 3)))
    before = sorted((path / "segments").iterdir())
    (other / "segments").rename(tmp_path / "aside")
    (other / "segments").symlink_to(path / "segments")
    vacuum(other, apply=True, grace_s=0)
    assert sorted((path / "segments").iterdir()) == before
