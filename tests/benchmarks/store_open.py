"""Opening a store of a million rows and of four: seconds, and peak memory a row. Page caches are warm."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np

from featstore.store import create_store
from tests.benchmarks.harness import probe

# rows, dim, rows an image: ten blobs of five repeats each, and for the third a few blobs of a clean crop
STORES = ((1_000_000, 1024, 50), (4_000_000, 64, 50), (1_000_000, 64, 5))
RUNS = 5


def main() -> None:
    """Print the table."""
    print(
        "Memory: by how much the process grew at its peak, and what Python and NumPy allocated at theirs, both a row."
    )
    print("Imports are not counted. The reach is 0.3 s and 200 bytes.\n")
    print("| rows x dim | images | what | seconds (range) | memory (B/row) | allocated (B/row) |")
    print("| --- | ---: | --- | --- | ---: | ---: |")
    for rows, dim, rows_an_image in STORES:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "a.store"
            _build(path, rows, dim, rows_an_image)
            for work, words in (
                ("open_and_read_one", "open, `len`, one image's embeddings"),
                ("open_and_list_keys", "open, `store.keys`"),
            ):
                _print_row(path, rows, f"{rows:,} x {dim} | {rows // rows_an_image:,} | {words}", work)


def _print_row(path: Path, rows: int, words: str, work: str) -> None:
    probe(work, path)
    found = [probe(work, path) for _ in range(RUNS)]
    seconds = sorted(one["seconds"] for one in found)
    memory = statistics.median(one["grown_bytes"] for one in found) / rows
    allocated = probe(f"{work}+traced", path)["traced_bytes"] / rows
    spread = f"{statistics.median(seconds):.3f} ({seconds[0]:.3f} to {seconds[-1]:.3f})"
    print(f"| {words} | {spread} | {memory:.0f} | {allocated:.0f} |")


def _build(path: Path, rows: int, dim: int, rows_an_image: int) -> None:
    """Write a store, the numbers of which don't matter."""
    embeddings = np.random.default_rng(0).random((rows_an_image, dim), dtype=np.float32)
    blobs, repeats = np.divmod(np.arange(rows_an_image), 5 if rows_an_image > 5 else 1)
    with create_store(path, {"benchmark": "open"}, dim) as writer:
        for image in range(rows // rows_an_image):
            writer.add(f"train_data/img_{image:06d}.png", blobs, repeats, embeddings, label="ABCD"[image % 4])


if __name__ == "__main__":
    main()
