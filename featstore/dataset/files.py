"""Files on disk: which of them are images, their bytes, their identity."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from featstore.dataset.reasons import Reason
from featstore.errors import DataError, ImageError

__all__ = [
    "MAX_FILE_BYTES",
    "bytes_digest",
    "file_digest",
    "is_folder",
    "is_hidden",
    "is_image_name",
    "is_missing",
    "list_folder",
    "problem_with",
    "read_bytes",
]

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".jp2", ".j2k"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".pam", ".gif", ".avif"),
)

MAX_FILE_BYTES = 2 << 30
"""A larger file is refused before it is read: the most pixels that are accepted, as uncompressed 16-bit RGBA."""

_CHUNK = 1 << 20
_FOLDER, _MISSING = "is a folder", "is not there"


def is_image_name(name: str) -> bool:
    """Tell whether a file of this name is meant to be an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def is_hidden(name: str) -> bool:
    """Tell whether a name is hidden, or litter that an archive of another system leaves."""
    return name.startswith(".") or name == "__MACOSX"


def list_folder(folder: Path) -> list[Path]:
    """List what is in a folder, sorted by name, without what is hidden.

    Raises
    ------
    DataError
        If the folder can't be listed.
    """
    try:
        return sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=lambda path: path.name)
    except OSError as error:
        raise DataError(f"the folder {folder} can't be listed ({error.strerror})") from error


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder, also where looking is not allowed (then: no)."""
    return problem_with(path) == _FOLDER


def is_missing(path: Path) -> bool:
    """Tell whether there is nothing at all at a path."""
    return problem_with(path) == _MISSING


def problem_with(path: Path) -> str:
    """Say why a path can't be read as a file at all; empty when it can be tried."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return "is a link to nothing" if path.is_symlink() else _MISSING
    except OSError as error:
        return f"can't be read ({error.strerror})"
    if stat.S_ISDIR(status.st_mode):
        return _FOLDER
    # a pipe or a device would block, or never end
    return "" if stat.S_ISREG(status.st_mode) else "is no regular file"


def read_bytes(path: str | Path, *, reason: Reason = Reason.UNREADABLE) -> bytes:
    """Read a whole image file; its digest and its pixels can both be had from the bytes.

    Parameters
    ----------
    path : str or Path
        The file.
    reason : Reason
        What the error is to carry when it can't be read.

    Returns
    -------
    bytes

    Raises
    ------
    ImageError
        If there is no readable file, it is empty, or larger than `MAX_FILE_BYTES`.
    """
    path = Path(path)
    _require_file(path, reason)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ImageError(
                    f"{path} has {size / 1e9:.1f} GB",
                    reason=Reason.TOO_LARGE if reason is Reason.UNREADABLE else reason,
                    expected=f"an image file of at most {MAX_FILE_BYTES / 1e9:.1f} GB",
                )
            data = file.read()
    except OSError as error:
        raise ImageError(f"{path} can't be read ({error.strerror})", reason=reason) from error
    if not data:
        raise ImageError(f"{path} is empty (0 bytes)", reason=reason, remedy="Copy it again from its source.")
    return data


def bytes_digest(data: bytes) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits: the image's identity, whatever its name."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits, without holding all of it in memory.

    Raises
    ------
    ImageError
        If the file can't be read.
    """
    path = Path(path)
    _require_file(path, Reason.UNREADABLE)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise ImageError(f"{path} can't be read ({error.strerror})", reason=Reason.UNREADABLE) from error
    return digest.hexdigest()


def _require_file(path: Path, reason: Reason) -> None:
    problem = problem_with(path)
    if problem:
        raise ImageError(f"{path} {problem}", reason=reason, expected="an image file")
