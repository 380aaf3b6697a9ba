"""Two things timed in turn, A B A B ..., and compared pair by pair, so that a drifting machine cancels out."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

__all__ = ["Ratio", "compare", "in_turn", "memory_gb", "probe", "ratio", "speed", "table", "watched"]

Measure = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """Median seconds of two things, and the median of their paired ratios with its range."""

    name: str
    seconds: float
    against: float
    ratio: float
    low: float
    high: float
    reach: str


def compare(name: str, command: Sequence[str], against: Sequence[str], *, reach: str, runs: int = 7) -> Ratio:
    """Time two commands in turn, after a run of each that is not counted; ratio of ours to theirs, in seconds."""
    pairs = in_turn(lambda: _seconds(command), lambda: _seconds(against), runs)
    return ratio(name, pairs, [ours / theirs for ours, theirs in pairs], reach)


def speed(name: str, ours: Measure, theirs: Measure, *, reach: str, runs: int = 7, scale: float = 1.0) -> Ratio:
    """Compare two measures in turn by their speed: 0.9 is nine tenths as fast as what we compare with.

    ``scale`` is how many times the work of theirs ours does.
    """
    pairs = [(mine, scale * other) for mine, other in in_turn(ours, theirs, runs)]
    return ratio(name, pairs, [other / mine for mine, other in pairs], reach)


def in_turn(ours: Measure, theirs: Measure, runs: int) -> list[tuple[float, float]]:
    """Take two measures in turn, after one of each that is not counted."""
    ours(), theirs()
    return [(ours(), theirs()) for _ in range(runs)]


def probe(name: str, *arguments: object) -> dict[str, Any]:
    """Run one of the functions of `tests.benchmarks.probe` in a process of its own, and return what it measured."""
    command = [sys.executable, "-m", "tests.benchmarks.probe", name, *map(str, arguments)]
    measured: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return measured


def watched(command: Sequence[object], every_s: float = 0.1) -> tuple[float, str, float]:
    """Run a command; its seconds, what it says, and the peak of its and its descendants' memory in GB."""
    peak, start = 0.0, time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([str(word) for word in command], stdout=said, stderr=errors)
        while process.poll() is None:
            peak = max(peak, memory_gb(process.pid))
            time.sleep(every_s)
        seconds = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(errors.read())
        said.seek(0)
        return seconds, said.read(), peak


def memory_gb(pid: int) -> float:
    """Sum the memory of a process and its descendants, what they share counted once (Linux's proportional set)."""
    total = 0
    try:
        main = psutil.Process(pid)
        for process in [main, *main.children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:
        pass
    return total / 1e9


def table(rows: Sequence[Ratio], ratio: str = "ratio") -> str:
    """Lay rows out as a Markdown table."""
    lines = [f"| what | ours (s) | against (s) | {ratio} (range) | reach |", "| --- | ---: | ---: | --- | --- |"]
    for row in rows:
        spread = f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})"
        lines.append(f"| {row.name} | {row.seconds:.3g} | {row.against:.3g} | {spread} | {row.reach} |")
    return "\n".join(lines)


def ratio(name: str, pairs: Sequence[tuple[float, float]], ratios: Sequence[float], reach: str) -> Ratio:
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Ratio(name, ours, theirs, statistics.median(ratios), min(ratios), max(ratios), reach)


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start
