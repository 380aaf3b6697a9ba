"""How the models of the archive were made: ``python tests/toolkit/archive/make.py FOLDER [1] [2]``; see README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from featstore.store import Bags
from featstore.toolkit import FoldEnsemble, LogitFusion, MLPHead, PooledHead, TemperatureScaling, save_model

DIM, IMAGES = 3, 24


def bags(*, scales: bool) -> Bags:
    """Images of two blobs in classes A, B and C, by a formula: at scale 2, where there is one, numbers are other ones.

    Only numbers that every machine makes alike: multiples of 1/8.
    """
    crops = 4 if scales else 2
    image, crop = (part.ravel() for part in np.meshgrid(range(IMAGES), range(crops), indexing="ij"))
    rows = np.stack([(7 * image + 5 * crop + 3 * d + image * crop * (d + 1)) % 16 / 8 for d in range(DIM)], axis=1)
    rows[:, 0] += image % 3 / 2
    names, zero = [f"img_{number:04d}.png" for number in range(IMAGES)], np.zeros(len(image), np.int32)
    told = {"scale": (crop // 2 + 1).astype(np.int32), "parent": (crop % 2).astype(np.int32)} if scales else {}
    labels = {name: "ABC"[number % 3] for number, name in enumerate(names)}
    start = crops * np.arange(IMAGES)
    return Bags.from_sorted(rows.astype(np.float32), crop.astype(np.int32), zero, names, start, labels=labels, **told)


def model(number: int) -> FoldEnsemble:
    """Return an ensemble with classes of the format, which are all that it came with."""
    mlp = MLPHead(hidden=(4,), max_epochs=30)
    if number == 1:
        trees = PooledHead(XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1))
        linear = PooledHead(make_pipeline(StandardScaler(), LogisticRegression()))
        heads = [("mlp", mlp), ("trees", trees), ("linear", linear)]
    else:
        from featstore.toolkit import OnScales, ScalePool

        pool = make_pipeline(ScalePool((1, 2), weights=(3, 1)), LogisticRegression())
        heads = [("mlp", OnScales(mlp, (1, 2), how="concatenate")), ("pool", pool)]
    fusion = LogitFusion([(name, TemperatureScaling(head)) for name, head in heads])
    return FoldEnsemble(fusion, n_splits=2, random_state=0)


def make(folder: Path, number: int) -> None:
    """Write a model, and the probabilities that it gives for the images that it was fitted on."""
    X = bags(scales=number > 1)
    fitted = model(number).fit(X, X.labels)
    save_model(fitted, folder / f"format-{number}.model")
    predicted = [[round(value, 9) for value in row] for row in fitted.predict_proba(X).tolist()]
    lines = ",\n ".join(json.dumps(row) for row in predicted)
    (folder / f"format-{number}.json").write_text(f"[{lines}]\n")


if __name__ == "__main__":
    for name in sys.argv[2:] or ["1", "2"]:
        make(Path(sys.argv[1]), int(name))
