"""Writing files so that a reader sees all of one or nothing, whatever is killed and wherever the disk fills up."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import StoreWriteError

__all__ = [
    "TEMPORARY",
    "Draft",
    "check_target",
    "create_exclusively",
    "draft",
    "make_folder",
    "plain_errors",
    "remove",
    "write_at",
    "write_atomically",
]

TEMPORARY = ".tmp-"

_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, durably.

    Raises
    ------
    StoreWriteError
        If it can't be made.
    """
    if path.is_dir():
        return
    with plain_errors(path):
        missing = [folder for folder in (path, *path.absolute().parents) if not folder.is_dir()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            _sync_folder(folder.absolute().parent)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file under a temporary name, sync it, rename it, sync the folder.

    A link is followed, and what is no file (``/dev/stdout``, a pipe) is written to as it is.

    Raises
    ------
    StoreWriteError
        If it can't be written; nothing is left under ``path``.
    """
    check_target(path)
    with plain_errors(path):
        if _is_special(path):  # asked before links are followed: that of a pipe leads to no path
            path.write_bytes(content)
            return
        path = path.resolve()
        with draft(path) as file:
            write_at(file.descriptor, content, 0)
            file.keep_as(path)


def check_target(path: Path) -> None:
    """Refuse a path that no file can be written to, before any work is done for it.

    Raises
    ------
    StoreWriteError
        If it is a folder, or its own folder is missing or may not be written to.
    """
    if path.is_dir():
        raise StoreWriteError(f"{path}: a folder", expected="the name of a file")
    if not path.absolute().parent.is_dir():
        raise StoreWriteError(f"{path}: its folder is not there", remedy="Make the folder, or name another place.")
    if not os.access(path if _is_special(path) else path.absolute().parent, os.W_OK):
        raise StoreWriteError(f"{path}: writing is not permitted", remedy="Name another place.")


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def create_exclusively(path: Path, content: bytes) -> bool:
    """Create a file whole, unless it is already there; say whether it was created.

    A hard link is atomic and fails where the name is taken, on local and on network file systems alike. Where there
    are no hard links the file is opened exclusively instead, and a crash in the middle can leave it incomplete: the
    checksum inside a version file tells.

    Raises
    ------
    StoreWriteError
        If it can't be written for another reason than being there.
    """
    with draft(path) as file:
        write_at(file.descriptor, content, 0)
        return file.keep_exclusively_as(path)


@dataclass
class Draft:
    """A file under a temporary name, being written."""

    descriptor: int
    path: Path

    def keep_as(self, path: Path) -> None:
        """Sync it, give it its name, in the same folder, and sync the folder."""
        os.fsync(self.descriptor)
        self.path.replace(path)
        _sync_folder(path.parent)

    def keep_exclusively_as(self, path: Path) -> bool:
        """Give it its name unless that is taken, and say whether it was given."""
        os.fsync(self.descriptor)
        try:
            os.link(self.path, path)
        except FileExistsError:
            if not self._is_at(path):
                return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if not _copy_exclusively(self.path, path):
                return False
        try:
            _sync_folder(path.parent)
        except OSError as error:
            raise StoreWriteError(
                f"{path}: written, but it could not be made to last ({error.strerror})",
                remedy="Look after the disk. It is there now, and may be gone after a power cut.",
            ) from error
        return True

    def _is_at(self, path: Path) -> bool:
        """Tell whether the name is ours: NFS asks again when the answer to a link gets lost, and then finds it made."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), path.stat(follow_symlinks=False))
        except FileNotFoundError:
            return False


@contextmanager
def draft(path: Path) -> Iterator[Draft]:
    """Open a file under a temporary name beside ``path``; unless it was kept, it is removed at the end.

    Raises
    ------
    StoreWriteError
        If it can't be made or written.
    """
    with plain_errors(path):
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            yield Draft(descriptor, temporary)
        finally:
            os.close(descriptor)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_at(descriptor: int, content: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of ``content`` at ``offset``, however little the system takes at a time."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest[: 2**30], offset)
        rest, offset = rest[written:], offset + written


def remove(paths: Iterable[Path]) -> None:
    """Remove files in the given order; one that is gone already is none the worse.

    Raises
    ------
    StoreWriteError
        If one can't be removed.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        with plain_errors(path):
            path.unlink(missing_ok=True)
        folders[path.parent] = None
    for folder in folders:
        with plain_errors(folder):
            _sync_folder(folder)


def _copy_exclusively(source: Path, target: Path) -> bool:
    try:
        with target.open("xb") as stream:
            try:
                stream.write(source.read_bytes())
                stream.flush()
                os.fsync(stream.fileno())
            except BaseException:  # an interrupt too: half a version would stop every reader
                with suppress(OSError):
                    target.unlink()
                raise
    except FileExistsError:
        return False
    return True


def _sync_folder(path: Path) -> None:
    """Make a rename durable, where the file system can sync a folder, and we may open it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:  # a folder that we may write to, but not list
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a failed write into a `StoreWriteError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in _SPACE:
            found, remedy = f"{path}: no space left", "Free some space and run the same command again."
        elif error.errno in _ACCESS:
            found, remedy = f"{path}: writing is not permitted", "Name another place, or change its permissions."
        else:
            found, remedy = f"{path}: {error.strerror or error}", "Run the same command again once that is mended."
        raise StoreWriteError(found, remedy=f"Nothing that was there before has changed. {remedy}") from error
