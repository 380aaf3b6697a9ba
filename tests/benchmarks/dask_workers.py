"""Two Dask workers of one thread against one, with an encoder that is bound by the processor (``stain-texture``).

Two clusters stand ready on this machine, one of which idles while the other works. Timed is the whole of an extraction
over the cluster into a new store, connecting included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from featstore.dataset import Dataset, find_dataset
from featstore.encoders import load_encoder
from featstore.extract import Repeats, extract, on_dask
from featstore.recipe import Recipe
from featstore.store import create_store
from tests.benchmarks.generated import write_images
from tests.benchmarks.harness import in_turn, ratio, table

IMAGES, REPEATS, RUNS = 30, 4, 3


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        write_images(root / "data", IMAGES)
        data = find_dataset(root / "data")
        one, two = (stack.enter_context(_cluster(root / f"{count}.json", count)) for count in (1, 2))
        pairs = in_turn(lambda: _extract(data, two), lambda: _extract(data, one), RUNS)
    row = ratio(
        f"2 workers against 1, {IMAGES} images, {REPEATS} repeats",
        pairs,
        [alone / both for both, alone in pairs],
        "at least 1.8",
    )
    print(table([row], "times as fast"))


def _extract(data: Dataset, address: str) -> float:
    encoder = load_encoder("stain-texture")
    recipe = Recipe(encoder.settings)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        with create_store(Path(folder) / "x.store", recipe.to_dict(), encoder.settings.dim) as writer:
            extract(data, encoder, recipe, writer, repeats=Repeats(REPEATS), engine=partial(on_dask, address))
    return time.perf_counter() - start


@contextmanager
def _cluster(file: Path, workers: int) -> Iterator[str]:
    """Run a scheduler and its workers, and give the scheduler's file."""
    common = ["--no-dashboard", "--scheduler-file", str(file)]
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *common]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--nworkers", str(workers)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(scheduler, **quiet) as one, subprocess.Popen([*worker, *common], **quiet) as other:
        try:
            while not file.exists():
                time.sleep(0.1)
            from distributed import Client

            with Client(scheduler_file=str(file), set_as_default=False) as client:
                client.wait_for_workers(workers, timeout=60)
            yield str(file)
        finally:
            for process in (other, one):
                process.terminate()


if __name__ == "__main__":
    main()
