"""Pictures and pages that featstore makes, told from anybody else's: what it did not make it never replaces."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SOFTWARE", "is_drawn", "is_page"]

SOFTWARE = "featstore"
"""What pictures name as their software, in PNG's own text chunk of that keyword."""

_CHUNK = b"tEXtSoftware\x00" + SOFTWARE.encode()
_META = f'<meta name="generator" content="{SOFTWARE} '.encode()
_HEAD_BYTES = 4096


def is_drawn(path: Path) -> bool:
    """Whether a file is a picture that featstore drew.

    Raises
    ------
    OSError
        If it can't be read.
    """
    with path.open("rb") as file:
        return _CHUNK in file.read(_HEAD_BYTES)


def is_page(path: Path) -> bool:
    """Whether a file is a page that featstore wrote.

    Raises
    ------
    OSError
        If it can't be read.
    """
    with path.open("rb") as file:
        return _META in file.read(_HEAD_BYTES)
