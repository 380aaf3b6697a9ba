"""Version files as they stand on disk: JSON that carries its format and its own checksum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from featstore.errors import StoreFormatError
from featstore.recipe import canonical_json
from featstore.store.disk.container import require_format
from featstore.store.disk.opening import RESTORE, open_regular, read_at, unreadable

__all__ = ["damaged", "read_body"]

_LARGEST = 2**24


def read_body(path: Path) -> dict[str, Any]:
    """Read a version file, checked against its own checksum.

    Raises
    ------
    StoreFormatError
        If it can't be read, is damaged, too large, or of a later format.
    """
    try:
        with open_regular(path) as (descriptor, size):
            if size > _LARGEST:
                raise StoreFormatError(f"{path}: {size} bytes", expected=f"at most {_LARGEST}", remedy=_restore(path))
            document = json.loads(read_at(descriptor, 0, size))
        number = document["format"]  # before all else: what another format has beside it is not known here
        if type(number) is not int:
            raise TypeError(f"format {number!r}")
        require_format(path, number)
        body, stated = document["body"], document["sha256"]
        if hashlib.sha256(canonical_json(body).encode()).hexdigest() != stated:
            raise damaged(path, "its checksum does not match")
        return dict(body)
    except StoreFormatError:
        raise
    except OSError as error:
        raise unreadable(path, error, "a version") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, f"not readable as a version ({error})") from error


def damaged(path: Path, found: str) -> StoreFormatError:
    """Say what is wrong with a version file, and where to go from there."""
    return StoreFormatError(f"{path}: {found}", remedy=_restore(path))


def _restore(path: Path) -> str:
    """Name the version before as a way out, where there is one: the oldest go first."""
    before = int(path.stem) - 1
    if not path.with_name(f"{before:08d}.json").exists():
        return RESTORE
    return f"{RESTORE[:-1]}, or open an earlier version with: --store-version {before}"
