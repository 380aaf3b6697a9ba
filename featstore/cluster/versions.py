"""What must be the same here and on the workers, or they would compute something else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from featstore.errors import FeatstoreError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["check_worker", "compare_versions", "versions_of"]


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python, featstore and ``packages`` here; it is run on the workers too."""
    return {name: _version(name) for name in ("Python", "featstore", *packages)}


def compare_versions(client: Client, packages: Iterable[str]) -> dict[str, str]:
    """Return the versions here, which all workers share.

    Raises
    ------
    FeatstoreError
        If one has others, or no featstore.
    """
    ours = versions_of(packages)
    for worker, theirs in client.run(versions_of, tuple(packages), on_error="return").items():
        if isinstance(theirs, OSError):  # a worker that just left
            continue
        if isinstance(theirs, Exception):
            raise FeatstoreError(
                f"the Dask worker {worker} has no featstore that can be used ({type(theirs).__name__}: {theirs})",
                remedy="Install it, as here, in the environment that the workers run in, and start them again.",
            )
        check_worker(worker, theirs, ours)
    return ours


def check_worker(worker: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Raise `FeatstoreError` where a worker's versions are not ours; it names those that differ."""
    differ = [name for name in ours if theirs.get(name) != ours[name]]
    if differ:
        raise FeatstoreError(
            f"the Dask worker {worker} has {_told(theirs, differ)}",
            expected=f"{_told(ours, differ)}, as here",
            remedy="Install the same in the environment that the workers run in, and start them again.",
        )


def _told(versions: Mapping[str, str], names: Iterable[str]) -> str:
    return " and ".join(f"{name} {versions.get(name)}" for name in names)


def _version(name: str) -> str:
    if name == "Python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
