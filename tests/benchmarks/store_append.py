"""Appending to a store of few and of many segments, and bringing many back to few."""

from __future__ import annotations

import tempfile
import time
from itertools import count
from pathlib import Path

import numpy as np

from featstore.store import create_store, open_store, vacuum
from featstore.store import writer as writer_module
from tests.benchmarks.harness import Measure, Ratio, in_turn, table
from tests.benchmarks.harness import ratio as summed_up

FEW, MANY, DIM, ROWS_A_SEGMENT = 10, 10_000, 64, 8


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name) / "few.store", Path(name) / "many.store"
        _build(few, FEW), _build(many, MANY)
        print(f"Segments of {ROWS_A_SEGMENT} x {DIM}.\n")
        print(table([_appends(few, many)]))
        print(f"\n{_compacted(many)}")


def _appends(few: Path, many: Path) -> Ratio:
    """Open for appending, add an image, commit: in one process, the stores growing by a segment each time."""
    pairs = in_turn(_appending(many), _appending(few), runs=15)
    name = f"append to {MANY:,} segments, against append to {FEW}"
    return summed_up(name, pairs, [ours / theirs for ours, theirs in pairs], "at most 1.5")


def _appending(path: Path) -> Measure:
    numbers = count(1_000_000)

    def append() -> float:
        start = time.perf_counter()
        with create_store(path, {"benchmark": "append"}, DIM) as writer:
            _add(writer, next(numbers))
        return time.perf_counter() - start

    return append


def _compacted(path: Path) -> str:
    files = sum(1 for _ in (path / "segments").iterdir())
    keys = open_store(path).keys
    opened_s = _opening(path)
    start = time.perf_counter()
    vacuum(path, apply=True, grace_s=0.0, keep_versions=1, compact=True)
    seconds = time.perf_counter() - start
    after, left = open_store(path), sum(1 for _ in (path / "segments").iterdir())
    if (after.keys != keys).any():
        raise AssertionError("compaction changed the keys")
    return (
        f"`vacuum(compact=True, keep_versions=1)` brought {files:,} segments to {left} in {seconds:.1f} s; "
        f"open, len and one image took {opened_s:.3f} s before and {_opening(path):.3f} s after."
    )


def _opening(path: Path) -> float:
    start = time.perf_counter()
    store = open_store(path)
    store.embeddings(images=[f"{len(store) // 2 // ROWS_A_SEGMENT % FEW:07d}"])
    return time.perf_counter() - start


def _build(path: Path, segments: int) -> None:
    """Write a segment an image, and commit ten times."""
    usual, writer_module.SEGMENT_BYTES = writer_module.SEGMENT_BYTES, 1
    with create_store(path, {"benchmark": "append"}, DIM) as writer:
        for number in range(segments):
            _add(writer, number)
            if number % (segments // 10) == 0:
                writer.commit()
    writer_module.SEGMENT_BYTES = usual
    written = sum(1 for _ in (path / "segments").iterdir())
    if written != segments:
        raise AssertionError(f"{written} segments, not {segments}")


def _add(writer, number: int) -> None:
    embeddings = np.full((ROWS_A_SEGMENT, DIM), number % 1000, dtype=np.float32)
    writer.add(f"{number:07d}", range(ROWS_A_SEGMENT), [0] * ROWS_A_SEGMENT, embeddings, label="AB"[number % 2])


if __name__ == "__main__":
    main()
