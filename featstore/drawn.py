"""PNG files that featstore draws, told from anybody else's: what it did not draw it never replaces."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SOFTWARE", "is_drawn"]

SOFTWARE = "featstore"
"""What pictures name as their software, in PNG's own text chunk of that keyword."""

_CHUNK = b"tEXtSoftware\x00" + SOFTWARE.encode()
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
