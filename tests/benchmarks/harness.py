"""Whole commands timed in turn, A B A B ..., and compared pair by pair, so that a drifting machine cancels out."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Ratio", "compare", "table"]


@dataclass(frozen=True)
class Ratio:
    """Median seconds of two commands, and the median of their paired ratios with its range."""

    name: str
    seconds: float
    against: float
    ratio: float
    low: float
    high: float
    reach: str


def compare(name: str, command: Sequence[str], against: Sequence[str], *, reach: str, runs: int = 7) -> Ratio:
    """Time two commands in turn, after a run of each that is not counted."""
    _seconds(command), _seconds(against)
    pairs = [(_seconds(command), _seconds(against)) for _ in range(runs)]
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Ratio(name, ours, theirs, statistics.median(ratios), ratios[0], ratios[-1], reach)


def table(rows: Sequence[Ratio]) -> str:
    """Lay rows out as a Markdown table."""
    lines = ["| what | ours (s) | against (s) | ratio (range) | reach |", "| --- | ---: | ---: | --- | --- |"]
    for row in rows:
        ratio = f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})"
        lines.append(f"| {row.name} | {row.seconds:.2f} | {row.against:.2f} | {ratio} | {row.reach} |")
    return "\n".join(lines)


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start
