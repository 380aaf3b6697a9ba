"""Names of images: as keys, and as people write them in tables."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePath, PurePosixPath

__all__ = ["NameIndex", "folded", "image_key", "printable"]


def folded(name: str) -> str:
    """Bring names that one file system or another takes for the same to one form."""
    return unicodedata.normalize("NFC", name).casefold()


def printable(name: str) -> str:
    """Replace what is not UTF-8 in a file name, so that it can be printed and stored."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def image_key(path: Path, root: Path) -> str:
    """POSIX path of an image relative to the dataset's root; absolute where there is no way from one to the other."""
    try:
        return printable(PurePath(os.path.relpath(path, root)).as_posix())
    except ValueError:  # on Windows: another drive
        return printable(path.as_posix())


class NameIndex:
    """Finds the file that a table means by a name: as written, else in another case, else without its ending.

    A match that is not the only one of its kind is none. Folders in front of the name are not looked at.

    Parameters
    ----------
    names : iterable of str
        The file names there are.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._found: dict[tuple[str, str], list[str]] = {}
        for name in names:
            for form in self._forms(name):
                self._found.setdefault(form, []).append(name)

    def find(self, name: str) -> str | None:
        """Return the one file name that ``name`` means, or None."""
        last = PurePosixPath(name.replace("\\", "/")).name
        for form in (*self._forms(last)[:2], ("stem", folded(last))):
            if len(found := self._found.get(form, [])) == 1:
                return found[0]
        return None

    @staticmethod
    def _forms(name: str) -> list[tuple[str, str]]:
        exact = unicodedata.normalize("NFC", name)
        return [("exact", exact), ("case", folded(name)), ("stem", folded(PurePosixPath(name).stem))]
