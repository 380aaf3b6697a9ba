"""Writers that meet: what one counts on, another may have replaced, compacted or vacuumed."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import StoreWriteError
from featstore.store import create_store, merge, open_store, vacuum, verify

commits = import_module("featstore.store.disk.commits")

ONE, OTHER = {"sha256": "1"}, {"sha256": "2"}


def add(writer, image: str, repeat: int, value: float, **facts) -> None:
    writer.add(image, [0], [repeat], [[value]], facts=facts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with the clean row of one image."""
    path = tmp_path / "x.store"
    with create_store(path, {}, 1) as writer:
        add(writer, "a", 0, 1.0, **ONE)
    return path


def replaced(path: Path) -> None:
    """Give the image other content, and drop the rows of the old one."""
    with create_store(path, {}, 1) as writer:
        add(writer, "a", 0, 2.0, **OTHER)
    vacuum(path, apply=True, compact=True)


def test_rows_that_a_writer_counts_on_were_dropped_meanwhile(path):
    writer = create_store(path, {}, 1)
    assert writer.stored("a", ("1", "")) == {(0, 0)}
    add(writer, "a", 1, 1.5, **ONE)
    replaced(path)
    before = open_store(path)
    with pytest.raises(StoreWriteError, match=r"another writer gave image 'a' other content.*Run the same command"):
        writer.commit()
    after = open_store(path)
    assert (after.version, after.keys.tolist()) == (before.version, before.keys.tolist())
    assert verify(path).ok


def test_facts_of_content_that_others_replaced_are_dropped(path):
    """What the other writer says of the new content stands, and all else is committed."""
    writer = create_store(path, {}, 1)
    writer.register("a", **ONE, note="looked at")
    add(writer, "b", 0, 5.0)
    replaced(path)
    writer.commit()
    store = open_store(path)
    assert (store.images["a"].sha256, store.images["a"].note) == ("2", "")
    assert store.embeddings().tolist() == [[2.0], [5.0]]
    assert verify(path).ok


def test_what_is_said_of_an_image_is_said_whatever_its_content(path):
    writer = create_store(path, {}, 1)
    writer.add("a", [], [], np.zeros((0, 1)), label="tumour", group="g")
    replaced(path)
    writer.commit()
    row = open_store(path).images["a"]
    assert (row.sha256, row.label, row.group) == ("2", "tumour", "g")


def test_what_others_replaced_and_compacted_does_not_come_back(path):
    writer = create_store(path, {}, 1)
    add(writer, "a", 1, 1.5, **ONE)
    writer.commit()
    replaced(path)
    add(writer, "b", 0, 9.0)
    writer.commit()
    add(writer, "a", 0, 1.0, **ONE)
    writer.commit()
    assert writer.stored("a", ("1", "")) == {(0, 0)}
    add(writer, "a", 1, 1.5, **ONE)
    writer.commit()
    assert open_store(path).embeddings(images=["a"]).tolist() == [[1.0], [1.5]]
    assert verify(path).ok


@pytest.mark.parametrize("known", [False, True])
def test_rows_that_would_not_count_are_not_committed(tmp_path, known):
    """Added without a word of the content, they belong to what the image was then."""
    path = tmp_path / "y.store"
    with create_store(path, {}, 1) as writer:
        add(writer, "b", 0, 1.0)
        if known:
            writer.register("x")
    first, second = create_store(path, {}, 1), create_store(path, {}, 1)
    add(first, "x", 0, 1.0, **ONE)
    first.commit()
    second.add("x", [0, 0], [0, 1], [[2.0], [2.5]])
    with pytest.raises(StoreWriteError, match="image 'x' other content"):
        second.commit()
    assert open_store(path).embeddings(images=["x"]).tolist() == [[1.0]]


def test_what_a_compaction_dropped_is_not_stored(path):
    writer = create_store(path, {}, 1)
    add(writer, "a", 1, 1.5, **ONE)
    writer.commit()
    add(writer, "a", 0, 2.0, **OTHER)
    writer.commit()
    vacuum(path, apply=True, compact=True)
    add(writer, "a", 0, 1.0, **ONE)
    writer.commit()
    assert writer.stored("a", ("1", "")) == {(0, 0)}
    add(writer, "a", 1, 1.5, **ONE)
    writer.commit()
    assert open_store(path).embeddings().tolist() == [[1.0], [1.5]]
    assert verify(path).ok


def test_with_its_own_clean_row_the_later_commit_wins(path):
    writer = create_store(path, {}, 1)
    replaced(path)
    writer.register("a", sha256="3")
    add(writer, "a", 0, 3.0, sha256="3")
    writer.commit()
    assert open_store(path).embeddings().tolist() == [[3.0]]
    assert verify(path).ok


@pytest.mark.parametrize("committed_before", [False, True], ids=["opened", "committed"])
def test_what_is_stored_is_told_by_content(path, committed_before):
    writer = create_store(path, {}, 1)
    if committed_before:
        add(writer, "a", 1, 1.5, **ONE)
        writer.commit()
    replaced(path)
    add(writer, "b", 0, 9.0)
    writer.commit()
    assert writer.stored("a", ("1", "")) == set()
    assert writer.stored("a", ("2", "")) == {(0, 0)}
    add(writer, "a", 0, 1.0, **ONE)
    writer.commit()
    assert open_store(path).embeddings(images=["a"]).tolist() == [[1.0]]
    assert verify(path).ok


def test_old_content_that_comes_back_in_one_block(path):
    with create_store(path, {}, 1) as writer:
        add(writer, "b", 0, 1.0, **ONE)
        add(writer, "b", 0, 2.0, **OTHER)
        writer.register("b", **ONE)
        assert writer.stored("b", ("1", "")) == writer.stored("b", ("2", "")) == {(0, 0)}
    assert open_store(path).embeddings(images=["b"]).tolist() == [[1.0]]
    assert verify(path).ok


def test_an_image_that_got_other_content_and_no_rows(path):
    with create_store(path, {}, 1) as writer:
        add(writer, "a", 1, 1.5, **ONE)
        writer.register("a", **OTHER)
    assert (len(open_store(path)), open_store(path).version) == (0, 2)
    assert verify(path).ok


def test_a_vacuum_without_grace_just_before_the_version_file(path, monkeypatch):
    create = commits.create_exclusively

    def late(target, content):
        monkeypatch.setattr(commits, "create_exclusively", create)
        vacuum(path, apply=True, grace_s=0)
        return create(target, content)

    writer = create_store(path, {}, 1)
    add(writer, "b", 0, 1.0)
    monkeypatch.setattr(commits, "create_exclusively", late)
    with pytest.raises(StoreWriteError, match=r"is gone, a vacuum took it before it was committed.*time of grace"):
        writer.commit()
    assert verify(path).ok
    assert (open_store(path).version, len(open_store(path))) == (1, 1)


def test_a_version_without_a_file_that_others_have_built_on(path, monkeypatch):
    """It can't be taken back then; the error says what is to be done."""
    create = commits.create_exclusively

    def late(target, content):
        monkeypatch.setattr(commits, "create_exclusively", create)
        vacuum(path, apply=True, grace_s=0)
        created = create(target, content)
        (path / "versions/00000003.json").write_bytes(target.read_bytes())
        return created

    writer = create_store(path, {}, 1)
    add(writer, "b", 0, 1.0)
    monkeypatch.setattr(commits, "create_exclusively", late)
    with pytest.raises(StoreWriteError, match=r"others have built on that.*delete .*00000002\.json and the later ones"):
        writer.commit()
    assert (path / "versions/00000002.json").exists()


def test_a_version_file_that_could_not_be_written_is_tried_again(path, monkeypatch):
    writer = create_store(path, {}, 1)
    add(writer, "b", 0, 1.0)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StoreWriteError, match="no space left"):
        writer.commit()
    assert len(open_store(path)) == 1
    monkeypatch.undo()
    assert writer.commit() == 2
    assert len(open_store(path)) == 2


def test_a_segment_that_could_not_be_written_is_lost(path, monkeypatch):
    writer = create_store(path, {}, 1)
    add(writer, "b", 0, 1.0)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StoreWriteError, match="no space left"):
        writer.commit()
    monkeypatch.undo()
    with pytest.raises(StoreWriteError, match="no space left"):
        writer.commit()
    assert (len(open_store(path)), open_store(path).version) == (1, 1)


def test_a_store_that_appears_where_others_are_being_merged(path, tmp_path, monkeypatch):
    target = tmp_path / "merged.store"
    write = import_module("featstore.store.upkeep.merge").write_segments

    def meanwhile(*arguments):
        written = write(*arguments)
        with create_store(target, {}, 1) as writer:
            add(writer, "theirs", 0, 7.0)
        return written

    monkeypatch.setattr("featstore.store.upkeep.merge.write_segments", meanwhile)
    with pytest.raises(StoreWriteError, match=r"merged\.store: another writer was faster"):
        merge([path], target)
    np.testing.assert_array_equal(open_store(target).embeddings(), [[7.0]])


def test_a_first_run_that_was_killed_is_resumed_beside_files_of_a_desktop(tmp_path):
    folder = tmp_path / "x.store"
    (folder / "segments").mkdir(parents=True)
    (folder / "segments/.tmp-0123").write_bytes(b"litter")
    (folder / ".DS_Store").write_bytes(b"\0")
    with create_store(folder, {}, 1) as writer:
        add(writer, "a", 0, 1.0)
    assert len(open_store(folder)) == 1
