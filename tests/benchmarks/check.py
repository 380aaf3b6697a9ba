"""A check of a whole challenge of images, against a loop that does nothing but decode them.

691 images of 1024 x 1400 with their masks; both use all cores, and take turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.generated import write_images

IMAGES, RUNS = 691, 3

CHECK = "from featstore_cli.app import app; app()"
DECODE = """
import sys
from pathlib import Path
import cv2
from joblib import Parallel, delayed
paths = sorted(Path(sys.argv[1]).glob("*/*.png"))
Parallel(n_jobs=-1, batch_size=8)(delayed(lambda path: cv2.imread(str(path)).shape)(path) for path in paths)
"""


def main() -> None:
    """Print seconds and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_images(data, IMAGES)
        check, decode = [], []
        for _ in range(RUNS):
            check.append(_seconds([sys.executable, "-c", CHECK, "check", str(data), "--json"]))
            decode.append(_seconds([sys.executable, "-c", DECODE, str(data)]))
    middle, alone = statistics.median(check), statistics.median(decode)
    print(f"| what | seconds (range) of {IMAGES} images | against decoding alone |\n| --- | ---: | ---: |")
    print(f"| check | {middle:.0f} ({min(check):.0f} to {max(check):.0f}), reach: under 90 | {middle / alone:.1f} |")
    print(f"| decoding images and masks | {alone:.0f} ({min(decode):.0f} to {max(decode):.0f}) | 1 |")


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    if done.stdout:
        assert len(json.loads(done.stdout)["images"]) == IMAGES
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
