"""Whole commands on embeddings of the challenge's size: `fit`, and `evaluate`, `sweep` and `predict` beside it.

The store holds 581 images of about 5 blobs, 4 augmented repeats and the clean crop, of 1024 numbers each.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from featstore.store import open_store
from tests.benchmarks.harness import Ratio, table
from tests.benchmarks.simulated import CHALLENGE, Simulation

FEATSTORE = str(Path(sys.executable).with_name("featstore"))
REPEATS, TEST = 4, 477

PEAK = """
import json, resource, sys
from featstore_cli.app import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    code = end.code or 0
usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps([code, usage]), file=sys.stderr)
"""


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        store, model = Path(name) / "x.store", Path(name) / "x.model"
        Simulation().write(store, CHALLENGE, repeats=REPEATS, test=TEST)
        fit, told, peak = _run("fit", store, "--model", model)
        print(f"fit: {fit:.1f} s, out-of-fold macro-F1 {told['oof_macro_f1']:.3f}\n")
        predict, _, _ = _run("predict", model, store, "--out", Path(name) / "p.csv")
        evaluate, honest, _ = _run("evaluate", store)
        sweep, _, _ = _run("sweep", store, "--repeats", "0,1,3,4", "--seeds", "1")
        rows = [
            _row("`evaluate`, ten outer folds of five inner, against `fit`", evaluate, fit, "at most 5"),
            _row("`sweep` over 0, 1, 3, 4 repeats, one seed, against `fit`", sweep, fit, "at most 5"),
            _row(f"`predict`, {TEST} images, against `fit`", predict, fit, "2 s"),
        ]
        print(table(rows))
        read = open_store(store).bags().instances("all").embeddings.nbytes
    print(f"\nevaluate: macro-F1 {honest['macro_f1']}, selection {honest['selection_macro_f1']:.3f}")
    print(f"Peak memory of fit's largest process: {peak / 1e6:.0f} MB; embeddings: {read / 1e6:.0f} MB.")


def _run(*arguments: object) -> tuple[float, dict[str, object], int]:
    """Run a command; seconds, what it says as JSON, and the peak memory of its largest process in bytes."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments), "--json"], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    code, kilobytes = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return seconds, json.loads(done.stdout), 1024 * kilobytes


def _row(name: str, ours: float, against: float, reach: str) -> Ratio:
    return Ratio(name, ours, against, ours / against, ours / against, ours / against, reach)


if __name__ == "__main__":
    main()
