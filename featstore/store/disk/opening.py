"""Opening files for reading, and telling a damaged file from one that only can't be read now."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featstore.errors import StoreFormatError

__all__ = ["RESTORE", "open_regular", "read_at", "read_into", "unreadable"]

RESTORE = "Restore the file from a copy."


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[int, int]]:
    """Open a file for reading, never waiting for what is no file (a pipe, a device); give descriptor and size.

    Raises
    ------
    StoreFormatError
        If it is no file.
    OSError
        If it can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise StoreFormatError(f"{path}: not a file", remedy=RESTORE)
        yield descriptor, facts.st_size
    finally:
        os.close(descriptor)


def unreadable(path: Path, error: Exception, kind: str) -> StoreFormatError:
    """Tell a file that is damaged from one that only can't be read at the moment, or not on this machine."""
    if isinstance(error, MemoryError):
        return StoreFormatError(f"{path}: does not fit into memory", remedy="Free some, or take a machine with more.")
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return StoreFormatError(f"{path}: missing", remedy=RESTORE)
    if number:
        return StoreFormatError(f"{path}: can't be read now ({os.strerror(number)})", remedy="Mend that and try again.")
    return StoreFormatError(f"{path}: not readable as {kind} ({error})", remedy=RESTORE)


def read_at(descriptor: int, offset: int, length: int) -> bytearray:
    """Read ``length`` bytes at ``offset``, or as many as there are.

    The memory for all of it is asked for at once: what can't fit is a `MemoryError` before anything is read.
    """
    content = bytearray(length)
    with memoryview(content) as into:
        done = read_into(descriptor, into, offset)
    del content[done:]
    return content


def read_into(descriptor: int, into: memoryview, offset: int) -> int:
    """Fill ``into`` from ``offset`` on, as far as there is something, and tell how many bytes that were."""
    done = 0
    while done < len(into) and (count := os.preadv(descriptor, [into[done : done + 2**30]], offset + done)):
        done += count
    return done
