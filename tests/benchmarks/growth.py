"""`fit` on ten and on a hundred times as many images, of one mean embedding each: seconds and memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from featstore.store import open_store
from tests.benchmarks.fitting import run
from tests.benchmarks.simulated import CHALLENGE, Simulation

TIMES = (1, 10, 100)


def main() -> None:
    """Print the table."""
    print(
        "| images | `fit`, s | seconds, against linear growth | peak memory, MB | 3 times the embeddings and 500 MB |"
    )
    print("| ---: | ---: | ---: | ---: | ---: |")
    first = 0.0
    for times in TIMES:
        with tempfile.TemporaryDirectory() as name:
            store, counts = Path(name) / "x.store", {label: times * count for label, count in CHALLENGE.items()}
            Simulation().write(store, counts, repeats=0, blobs=(1, 2))
            seconds, _, peak = run("fit", store, "--model", Path(name) / "x.model")
            bags = open_store(store).bags()
            allowed = 3 * bags.instances("all").embeddings.nbytes + 500e6
        first = first or seconds
        against = seconds / first / times
        print(f"| {len(bags)} | {seconds:.1f} | {against:.2f} | {1000 * peak:.0f} | {allowed / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
