"""What the benchmarks of the store measure in a process of its own: ``python -m tests.benchmarks.probe NAME ...``.

Imports are not counted; opening a file is, where it says so. The page cache is warm. Each prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featstore.store import open_store


def load_npy(path: str) -> object:
    """Read a whole array from a .npy file."""
    return np.load(path)


def read_store(path: str) -> object:
    """Open a store and read every embedding."""
    return open_store(path).embeddings()


def take_store(path: str, rows: str) -> Callable[[], object]:
    """Read rows of a store that is open."""
    store, chosen = open_store(path), np.load(rows)
    len(store)
    return lambda: store.take(chosen)


def take_memmap(path: str, rows: str) -> Callable[[], object]:
    """Read rows of a mapped array."""
    mapped, chosen = np.load(path, mmap_mode="r"), np.load(rows)
    return lambda: mapped[chosen]


def take_h5py(path: str, rows: str) -> Callable[[], object]:
    """Read rows of a dataset through h5py, which wants them in ascending order."""
    dataset, chosen = h5py.File(path, "r")["embeddings"], np.unique(np.load(rows))
    return lambda: dataset[chosen]


def open_and_read_one(path: str) -> object:
    """Open a store, tell how many rows it has, and read one image."""
    store = open_store(path)
    return len(store), store.embeddings(images=[next(iter(store.images))])


def open_and_list_keys(path: str) -> object:
    """Open a store and list its keys."""
    return open_store(path).keys


def main(name: str, *arguments: str) -> dict[str, Any]:
    """Time one call; tell how much memory grew at its peak: of the process, and what Python and NumPy allocated."""
    work: Any = globals()[name.removesuffix("+traced")]
    _warm(Path(arguments[0]))
    call = work(*arguments) if name.startswith("take") else lambda: work(*arguments)
    if name.endswith("+traced"):
        tracemalloc.start()
    before = _peak_bytes(reset=True)
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    grown = _peak_bytes() - before
    traced = tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0
    del result
    return {"seconds": seconds, "grown_bytes": grown, "traced_bytes": traced}


def _warm(path: Path) -> None:
    """Read every byte once, so that all of it is in the page cache however much memory others want."""
    buffer = bytearray(2**20)
    for file in [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file()):
        with file.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def _peak_bytes(*, reset: bool = False) -> int:
    """Tell the most memory that the process had; where Linux allows it, since the last reset."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
