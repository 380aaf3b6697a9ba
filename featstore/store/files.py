"""Writing files so that a reader sees all of one or nothing, whatever is killed and wherever the disk fills up."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from featstore.errors import StoreWriteError

__all__ = ["TEMPORARY", "check_target", "create_exclusively", "make_folder", "write_atomically"]

TEMPORARY = ".tmp-"

_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, durably.

    Raises
    ------
    StoreWriteError
        If it can't be made.
    """
    if path.is_dir():
        return
    with _plain_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        _sync_folder(path.parent)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file under a temporary name, sync it, rename it, sync the folder.

    A link is followed, and what is no file (``/dev/stdout``, a pipe) is written to as it is.

    Raises
    ------
    StoreWriteError
        If it can't be written; nothing is left under ``path``.
    """
    check_target(path)
    with _plain_errors(path):
        path = path.resolve()
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        with _temporary(path, content) as temporary:
            temporary.replace(path)
            _sync_folder(path.parent)


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
    if not os.access(path.absolute().parent, os.W_OK):
        raise StoreWriteError(f"{path}: writing is not permitted", remedy="Name another place.")


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
    with _plain_errors(path), _temporary(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                _write(path, content)
            except FileExistsError:
                return False
        _sync_folder(path.parent)
        return True


@contextmanager
def _temporary(path: Path, content: bytes | memoryview) -> Iterator[Path]:
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        _write(temporary, content)
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write(path: Path, content: bytes | memoryview) -> None:
    with path.open("xb") as stream:
        try:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise


def _sync_folder(path: Path) -> None:
    """Make a rename durable; some file systems can't sync a folder and don't need it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
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
