from __future__ import annotations

import csv

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featstore.evaluate import Candidate, evaluate, sweep, write_rows
from featstore.toolkit import MeanPool


def logistic(strength: float = 1.0) -> object:
    return make_pipeline(MeanPool(), LogisticRegression(C=strength))


def test_rows_are_what_evaluate_says_each_against_the_first(make_bags, tmp_path) -> None:
    bags = make_bags(48, apart=0.7)
    candidates = [({"repeats": c}, Candidate("", logistic(c), bags)) for c in (1e-4, 1.0)]
    rows = sweep(candidates, n_splits=4, n_seeds=2)
    for row, strength in zip(rows, (1e-4, 1.0), strict=True):
        alone = evaluate(logistic(strength), bags, n_splits=4, n_seeds=2)
        assert row["repeats"] == strength
        assert row["macro_f1_mean"] == alone.figures()["macro_f1"]["mean"]
        assert row["macro_f1_by_seed"] == [seed["macro_f1"] for seed in alone.per_seed]
    assert (rows[0]["difference"], rows[0]["difference_ci_low"], rows[0]["difference_ci_high"]) == (0, 0, 0)
    assert rows[1]["difference"] == pytest.approx(rows[1]["macro_f1_mean"] - rows[0]["macro_f1_mean"])
    write_rows(tmp_path / "rows.csv", rows)
    with (tmp_path / "rows.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["macro_f1_mean"]) for row in written] == [row["macro_f1_mean"] for row in rows]
    assert np.all(["macro_f1_by_seed" not in row for row in written])
