"""Files: whole or not there, durable, and errors in plain words."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from featstore.errors import StoreFormatError, StoreWriteError
from featstore.store import create_store, open_store
from featstore.store.disk import files, opening


def test_little_by_little(tmp_path, monkeypatch):
    """The system may write and read fewer bytes than it was asked for."""
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(files.os, "pwrite", lambda descriptor, content, at: pwrite(descriptor, content[:7], at))
    monkeypatch.setattr(files.os, "preadv", lambda descriptor, into, at: preadv(descriptor, [into[0][:5]], at))
    content = bytes(range(100))
    files.write_atomically(tmp_path / "x", content)
    with opening.open_regular(tmp_path / "x") as (descriptor, size):
        assert (size, opening.read_at(descriptor, 0, 100)) == (100, content)
        assert opening.read_at(descriptor, 90, 50) == content[90:]
        assert opening.read_at(descriptor, 100, 4) == b""
        assert opening.read_at(descriptor, 3, 0) == b""


def test_a_name_is_given_once_and_atomically(tmp_path):
    assert files.create_exclusively(tmp_path / "x", b"one")
    assert not files.create_exclusively(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"one"
    files.write_atomically(tmp_path / "x", b"three")
    assert (tmp_path / "x").read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_a_name_that_was_given_and_not_made_to_last(tmp_path, monkeypatch):
    """It is there, so nobody is told that nothing has changed."""
    monkeypatch.setattr(
        files, "_sync_folder", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
    )
    with pytest.raises(StoreWriteError, match=r"written, but it could not be made to last .*It is there now"):
        files.create_exclusively(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"


def test_what_was_not_kept_is_gone(tmp_path):
    with pytest.raises(ZeroDivisionError), files.draft(tmp_path / "x") as draft:
        files.write_at(draft.descriptor, b"half", 0)
        assert draft.path.name.startswith(files.TEMPORARY)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_whole_until_the_new_one_is(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"old")

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(StoreWriteError, match=r"x: Input/output error\. Nothing that was there before has changed"):
        files.write_atomically(tmp_path / "x", b"new")
    assert named(tmp_path) == {"x": b"old"}


def named(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_link_is_followed_and_a_pipe_written_to(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    files.write_atomically(tmp_path / "pipe", b"through")
    assert os.read(reading, 100) == b"through"
    os.close(reading)
    assert (tmp_path / "pipe").is_fifo()


def test_every_folder_that_is_made_is_made_durable(tmp_path, monkeypatch):
    """A new folder is there after a power cut once the folder that lists it was synced."""
    synced, sync = [], files._sync_folder
    monkeypatch.setattr(files, "_sync_folder", lambda path: (synced.append(path), sync(path)))
    files.make_folder(tmp_path / "a" / "b" / "c")
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)
    synced.clear()
    files.make_folder(tmp_path / "a" / "b" / "c")
    assert synced == []


def test_removing(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    files.remove([tmp_path / "x", tmp_path / "gone already"])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def answer_lost(monkeypatch):
    """NFS asks again when the answer to a link does not come, and is told that the name is taken: by itself."""
    plain = os.link

    def link(source, target):
        plain(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(files.os, "link", link)


def test_a_link_whose_answer_got_lost_was_ours(tmp_path, answer_lost):
    assert files.create_exclusively(tmp_path / "x", b"one")
    assert named(tmp_path) == {"x": b"one"}
    assert not files.create_exclusively(tmp_path / "x", b"one")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert not files.create_exclusively(tmp_path / "link", b"one")


def test_a_commit_whose_answer_got_lost_is_one_version(tmp_path, answer_lost):
    for number in (1, 2):
        with create_store(tmp_path / "x.store", {}, 1) as writer:
            writer.add(str(number), [0], [0], [[number]])
        assert open_store(tmp_path / "x.store").version == number
    assert len(open_store(tmp_path / "x.store")) == 2


def test_a_name_that_is_taken_and_gone_again_is_not_ours(tmp_path, monkeypatch):
    def taken(*_):
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(files.os, "link", taken)
    assert not files.create_exclusively(tmp_path / "x", b"one")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_copy_that_breaks_off_leaves_nothing_under_the_name(tmp_path, monkeypatch, error):
    """Without hard links: half a version file would stop every reader, whatever stopped its writer."""
    fsync, count = os.fsync, iter(range(10))

    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    def second_breaks_off(descriptor):
        if next(count):
            raise error
        fsync(descriptor)

    monkeypatch.setattr(files.os, "link", refuse)
    monkeypatch.setattr(files.os, "fsync", second_breaks_off)
    with pytest.raises((StoreWriteError, KeyboardInterrupt)):
        files.create_exclusively(tmp_path / "x", b"one")
    assert list(tmp_path.iterdir()) == []


def folder_sync(monkeypatch, number: int) -> None:
    """Let the sync of folders fail, that of files go on."""
    fsync = os.fsync

    def sync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", sync)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_that_cannot_sync_folders_will_do(tmp_path, monkeypatch, number):
    folder_sync(monkeypatch, number)
    files.write_atomically(tmp_path / "x", b"content")
    assert files.create_exclusively(tmp_path / "y", b"content")
    files.remove([tmp_path / "x"])
    assert list(tmp_path.iterdir()) == [tmp_path / "y"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE])
def test_a_folder_that_was_not_made_durable_is_an_error(tmp_path, monkeypatch, number):
    (tmp_path / "old").write_bytes(b"")
    folder_sync(monkeypatch, number)
    for write in (
        lambda: files.write_atomically(tmp_path / "x", b"content"),
        lambda: files.create_exclusively(tmp_path / "y", b"content"),
        lambda: files.make_folder(tmp_path / "folder"),
        lambda: files.remove([tmp_path / "old"]),
    ):
        with pytest.raises(StoreWriteError):
            write()


def test_a_folder_that_may_not_be_listed_will_do(tmp_path, monkeypatch):
    """It can be written to, and can't be opened to be synced; root may open everything."""
    plain = os.open

    def refuse(path, flags, *mode):
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied")
        return plain(path, flags, *mode)

    monkeypatch.setattr(files.os, "open", refuse)
    files.write_atomically(tmp_path / "x", b"content")
    assert (tmp_path / "x").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left.* Free some space"),
        (errno.EDQUOT, "no space left"),
        (errno.EROFS, "writing is not permitted"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_errors_of_the_system_in_plain_words(tmp_path, monkeypatch, number, said):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "pwrite", refuse)
    with pytest.raises(StoreWriteError, match=rf"x: {said}"):
        files.write_atomically(tmp_path / "x", b"content")
    assert list(tmp_path.iterdir()) == []


def test_targets(tmp_path):
    files.check_target(tmp_path / "x")
    with pytest.raises(StoreWriteError, match="a folder"):
        files.check_target(tmp_path)
    with pytest.raises(StoreWriteError, match="its folder is not there"):
        files.check_target(tmp_path / "no" / "x")


def test_damaged_is_not_the_same_as_not_readable_now(tmp_path):
    """A stale network file system is no reason to restore anything."""
    path = tmp_path / "x"
    assert "missing. Restore" in str(opening.unreadable(path, FileNotFoundError(errno.ENOENT, ""), "a table"))
    now = str(opening.unreadable(path, OSError(errno.ESTALE, "Stale file handle"), "a table"))
    assert "can't be read now (Stale file handle)" in now
    assert "Restore" not in now
    assert "not readable as a table (odd)" in str(opening.unreadable(path, ValueError("odd"), "a table"))
    large = str(opening.unreadable(path, MemoryError(), "a table"))
    assert "does not fit into memory" in large
    assert "Restore" not in large


def test_only_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null"), tmp_path):
        with pytest.raises(StoreFormatError, match="not a file"), opening.open_regular(path):
            pass


def test_a_pipe_is_written_to_by_its_name(tmp_path):
    """A link in /dev/fd to a pipe leads to no path that could be opened."""
    reading, writing = os.pipe()
    try:
        files.write_atomically(Path(f"/dev/fd/{writing}"), b"some")
        assert os.read(reading, 10) == b"some"
    finally:
        os.close(reading)
        os.close(writing)
