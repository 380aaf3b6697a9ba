"""A whole challenge of images: how much memory an extraction takes as it goes on, and a second run that finds all done.

691 images of 1024 x 1400 with 4 repeats, through a model so small that it hardly counts. The memory is that of the run
and all its processes together, what they share counted once (the proportional set size of Linux).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.generated import write_images, write_model
from tests.benchmarks.harness import memory_gb, watched

IMAGES, REPEATS, SECOND_RUNS = 691, 4, 5

EXTRACT = "from featstore_cli.app import app; app()"


def main() -> None:
    """Print the memory curve and the seconds of the second run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root / "data", IMAGES)
        write_model(root / "tiny", "tiny")
        command = [sys.executable, "-c", EXTRACT, "extract", str(root / "data"), "--store", str(root / "x.store")]
        command += ["--weights", str(root / "tiny"), "--device", "cpu", "--repeats", str(REPEATS), "--json"]
        _, _, alone = watched([sys.executable, "-c", "import torch, transformers, cv2, h5py, joblib, sklearn"], 0.02)
        start = time.perf_counter()
        curve, told = _run(command, root / "x.store")
        first_s = time.perf_counter() - start
        second = [_seconds(command) for _ in range(SECOND_RUNS)]
    print(f"First run: {told['images']} images, {told['computed']} embeddings, {first_s:.0f} s.\n")
    print(f"Imports alone (torch, transformers, OpenCV, h5py): {alone:.2f} GB.\n")
    print("| images stored | memory of all processes, peak until then (GB) | reach |\n| ---: | ---: | --- |")
    print("\n".join(f"| {images} | {memory:.2f} | under 2 |" for images, memory in curve))
    print("\n| what | seconds (range) | against the first run | reach |\n| --- | ---: | ---: | --- |")
    middle = statistics.median(second)
    spread = f"{middle:.2f} ({min(second):.2f} to {max(second):.2f})"
    print(f"| second run, all {told['images']} images done | {spread} | {middle / first_s:.4f} | under 3 s |")


def _run(command: list[str], store: Path) -> tuple[list[tuple[int, float]], dict]:
    """Run a command; peaks of its memory by the tenth of the time, with the images that were stored by then."""
    samples: list[tuple[float, float]] = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    start = time.perf_counter()
    while process.poll() is None:
        samples.append((time.perf_counter() - start, memory_gb(process.pid)))
        time.sleep(0.25)
    told = json.loads(process.stdout.read())
    end = samples[-1][0]
    tenths = [end * tenth / 10 for tenth in range(1, 11)]
    peaks = [max(memory for at, memory in samples if at <= tenth) for tenth in tenths]
    return [(round(told["images"] * tenth / end), peak) for tenth, peak in zip(tenths, peaks, strict=True)], told


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["computed"] == 0
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
