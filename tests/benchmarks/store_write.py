"""Writing, image by image, against ``numpy.save`` and fsync of the same array."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from featstore.store import create_store
from tests.benchmarks.harness import speed, table

ROWS, DIM, ROWS_AN_IMAGE = 131_072, 1024, 64


def main() -> None:
    """Print the table."""
    array = np.random.default_rng(0).random((ROWS, DIM), dtype=np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        row = speed(
            f"write {ROWS:,} x {DIM} float32, {ROWS_AN_IMAGE} rows an image, against `numpy.save` and fsync",
            lambda: _write_store(folder / "a.store", array),
            lambda: _save(folder / "a.npy", array),
            reach="at least 0.7",
        )
    print(table([row], "speed as a share of theirs"))


def _write_store(path: Path, array: np.ndarray) -> float:
    shutil.rmtree(path, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    blobs, repeats = np.arange(ROWS_AN_IMAGE), np.zeros(ROWS_AN_IMAGE, dtype=np.int32)
    with create_store(path, {"benchmark": "write"}, DIM) as writer:
        for image in range(len(array) // ROWS_AN_IMAGE):
            part = array[image * ROWS_AN_IMAGE : (image + 1) * ROWS_AN_IMAGE]
            writer.add(f"{image:06d}", blobs, repeats, part)
    return time.perf_counter() - start


def _save(path: Path, array: np.ndarray) -> float:
    path.unlink(missing_ok=True)
    os.sync()
    start = time.perf_counter()
    with path.open("wb") as stream:
        np.save(stream, array)
        stream.flush()
        os.fsync(stream.fileno())
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
