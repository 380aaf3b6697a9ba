"""How much the light commands cost beside the imports that they can't do without."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from featstore.store import create_store, open_store
from featstore.toolkit import m5, save_model
from tests.benchmarks.harness import compare, table

FEATSTORE = str(Path(sys.executable).with_name("featstore"))
DIM, TRAIN, TEST, BLOBS = 1024, 200, 477, 5


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        model, store = _prepare(Path(name))
        out = str(Path(name) / "predictions.csv")
        rows = [
            compare(
                "`featstore --help` against `python -c 'import typer, rich'`",
                [FEATSTORE, "--help"],
                [sys.executable, "-c", "import typer, rich"],
                reach="at most 2",
                runs=15,
            ),
            compare(
                f"`predict`, {TEST} images, against importing scikit-learn, xgboost, h5py",
                [FEATSTORE, "predict", model, store, "--out", out],
                [sys.executable, "-c", "import sklearn.calibration, xgboost, h5py"],
                reach="at most 1.5, plus one second",
            ),
        ]
    print(table(rows))


def _prepare(folder: Path) -> tuple[str, str]:
    """Write a store of made-up embeddings of Phikon-v2's length, and a ten-fold M5 fitted on it."""
    rng = np.random.default_rng(0)
    path = folder / "embeddings.store"
    with create_store(path, {"benchmark": "startup"}, DIM) as writer:
        for number in range(TRAIN + TEST):
            label = "ABCD"[number % 4]
            embeddings = rng.normal(size=(BLOBS, DIM)) + 0.1 * (number % 4)
            split = "train" if number < TRAIN else "test"
            writer.add(f"{number:04d}", range(BLOBS), [0] * BLOBS, embeddings, label=label, split=split)
    bags = open_store(path).bags()
    model = folder / "ensemble.model"
    save_model(m5(random_state=0, n_jobs=2).fit(bags, bags.labels), model)
    return str(model), str(path)


if __name__ == "__main__":
    main()
