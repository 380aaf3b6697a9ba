"""Whole commands on embeddings of the challenge's size: `fit`, and `evaluate`, `sweep` and `predict` beside it.

The store holds 581 images of about 5 blobs, 4 augmented repeats and the clean crop, of 1024 numbers each.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from featstore.store import open_store
from tests.benchmarks.harness import Ratio, table, watched
from tests.benchmarks.simulated import CHALLENGE, Simulation

FEATSTORE = str(Path(sys.executable).with_name("featstore"))
REPEATS, TEST = 4, 477


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        store, model = Path(name) / "x.store", Path(name) / "x.model"
        Simulation().write(store, CHALLENGE, repeats=REPEATS, test=TEST)
        fit, told, peak = run("fit", store, "--model", model)
        print(f"fit: {fit:.1f} s, out-of-fold macro-F1 {told['oof_macro_f1']:.3f}\n")
        predict, _, _ = run("predict", model, store, "--out", Path(name) / "p.csv")
        evaluate, honest, _ = run("evaluate", store)
        sweep, _, _ = run("sweep", store, "--repeats", "0,1,3,4", "--seeds", "1")
        rows = [
            _row("`evaluate`, ten outer folds of seven inner, against `fit`", evaluate, fit, "at most 5"),
            _row("`sweep` over 0, 1, 3, 4 repeats, one seed, against `fit`", sweep, fit, "at most 5"),
            _row(f"`predict`, {TEST} images, against `fit`", predict, fit, "2 s"),
        ]
        print(table(rows))
        read = open_store(store).bags().instances("all").embeddings.nbytes
    print(f"\nevaluate: macro-F1 {honest['macro_f1']}, selection {honest['selection_macro_f1']:.3f}")
    print(f"Peak memory of fit, all processes: {1000 * peak:.0f} MB; embeddings: {read / 1e6:.0f} MB.")


def run(*arguments: object) -> tuple[float, dict[str, Any], float]:
    """Run a command of featstore; seconds, what it says as JSON, and the peak memory of all its processes in GB."""
    seconds, said, peak = watched([FEATSTORE, *arguments, "--json"])
    return seconds, json.loads(said), peak


def _row(name: str, ours: float, against: float, reach: str) -> Ratio:
    return Ratio(name, ours, against, ours / against, ours / against, ours / against, reach)


if __name__ == "__main__":
    main()
