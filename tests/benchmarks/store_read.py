"""Reading: everything, and random rows, against NumPy and h5py on the same numbers. Page caches are warm."""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np

from featstore.store import create_store
from tests.benchmarks.harness import Measure, probe, speed, table

ROWS, DIM, ROWS_AN_IMAGE = 400_000, 1024, 50
RANDOM_ROWS = 100_000
H5PY_ROWS = RANDOM_ROWS if h5py.version.hdf5_version_tuple >= (2,) else 20_000  # 100,000 took five minutes


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder)
        print(f"{ROWS:,} x {DIM} float32; `take` in processes of their own, the file open, each row read once.\n")
        print(table(_rows(folder), "speed as a share of theirs"))


def _rows(folder: Path) -> list[object]:
    store, npy, rows, few = (folder / name for name in ("a.store", "a.npy", "rows.npy", "few.npy"))
    take = _seconds("take_store", store, rows)
    return [
        speed(
            "read all, against `numpy.load`",
            _seconds("read_store", store),
            _seconds("load_npy", npy),
            reach="at least 0.9",
        ),
        speed(
            f"{RANDOM_ROWS:,} random rows, against `numpy.memmap`",
            take,
            _seconds("take_memmap", npy, rows),
            reach="at least 0.8",
        ),
        speed(
            f"the same, against h5py on HDF5 {h5py.version.hdf5_version}, which was given {H5PY_ROWS:,} rows in order",
            take,
            _seconds("take_h5py", folder / "a.h5", few),
            reach="at least 20",
            runs=3,
            scale=RANDOM_ROWS / H5PY_ROWS,
        ),
    ]


def _seconds(name: str, *arguments: Path) -> Measure:
    return lambda: probe(name, *arguments)["seconds"]


def _prepare(folder: Path) -> None:
    """Write the same array as a store, as .npy and through h5py."""
    rng = np.random.default_rng(0)
    array = rng.random((ROWS, DIM), dtype=np.float32)
    np.save(folder / "a.npy", array)
    with h5py.File(folder / "a.h5", "w") as file:
        file["embeddings"] = array
    with create_store(folder / "a.store", {"benchmark": "read"}, DIM) as writer:
        for image in range(ROWS // ROWS_AN_IMAGE):
            part = array[image * ROWS_AN_IMAGE : (image + 1) * ROWS_AN_IMAGE]
            writer.add(f"{image:06d}", range(ROWS_AN_IMAGE), [0] * ROWS_AN_IMAGE, part)
    rows = rng.permutation(ROWS)[:RANDOM_ROWS]
    np.save(folder / "rows.npy", rows)
    np.save(folder / "few.npy", rows[:H5PY_ROWS])


if __name__ == "__main__":
    main()
