"""XGBoost on image embeddings: what each of the preset's settings brings, in score and in time.

One training set of the challenge's size, with its validation part for early stopping; scored on new images. Each row
but the first has one setting otherwise; the last is what a notebook would take.
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.metrics import f1_score, log_loss

from featstore.toolkit import PooledHead, TemperatureScaling
from featstore.toolkit.presets import xgboost_for_embeddings
from tests.benchmarks.simulated import CHALLENGE, Simulation

NEW, DRAWS = 2000, 5
OTHERWISE = {
    "as the preset has it": {},
    "256 bins": {"max_bin": 256},
    "all columns": {"colsample_bytree": 1.0},
    "all rows": {"subsample": 1.0},
    "no shrinkage of leaves beyond the default": {"reg_lambda": 1.0},
    "depth 2": {"max_depth": 2},
    "depth 5": {"max_depth": 5},
    "learning rate 0.05": {"learning_rate": 0.05},
    "learning rate 0.3": {"learning_rate": 0.3},
    "300 trees of depth 4 at 0.05, all else xgboost's own": {
        **{"n_estimators": 300, "max_depth": 4, "learning_rate": 0.05, "early_stopping_rounds": None},
        **{"max_bin": 256, "colsample_bytree": 1.0, "subsample": 1.0, "reg_lambda": 1.0},
    },
}


def main() -> None:
    """Print the table."""
    simulation = Simulation()
    new = simulation.bags(dict.fromkeys(CHALLENGE, NEW // len(CHALLENGE)), repeats=0, seed=10**6)
    draws = [simulation.bags(CHALLENGE, repeats=4, seed=seed) for seed in range(DRAWS)]
    print(f"{DRAWS} draws of {len(draws[0])} images with 4 repeats, one core; less the first row (standard error).\n")
    print("| settings | s | macro-F1 on new images | log-loss, calibrated |\n| --- | ---: | --- | --- |")
    first = None
    for name, settings in OTHERWISE.items():
        found = np.array([_fitted(bags, new, settings) for bags in draws])
        first = found if first is None else first
        away = found - first
        error = away.std(axis=0, ddof=1) / DRAWS**0.5
        told = [f"{found[:, k].mean():.3f} ({away[:, k].mean():+.3f}, {error[k]:.3f})" for k in (1, 2)]
        print(f"| {name} | {found[:, 0].mean():.1f} | {told[0]} | {told[1]} |", flush=True)


def _fitted(bags, new, settings: dict[str, object]) -> tuple[float, float, float]:
    held = np.arange(len(bags)) % 10 == 0
    head = TemperatureScaling(PooledHead(xgboost_for_embeddings().set_params(random_state=0, **settings)))
    start = time.perf_counter()
    head.fit(bags[~held], bags.labels[~held], eval_set=(bags[held], bags.labels[held]))
    seconds = time.perf_counter() - start
    probabilities = head.predict_proba(new)
    predicted = head.classes_[probabilities.argmax(axis=1)]
    return seconds, f1_score(new.labels, predicted, average="macro"), log_loss(new.labels, probabilities)


if __name__ == "__main__":
    main()
