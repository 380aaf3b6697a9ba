"""Is `evaluate` honest? On labels that mean nothing, and where the truth is known.

Leakage: labels are drawn at random, blobs of an image and repeats of a blob are nearly alike. Whoever splits rows
instead of images finds the same image on both sides, and reports that there is something to learn.

Coverage: of many simulated data sets, the model is fitted on all images and scored on thousands of new ones. That is
what the interval of `evaluate` is to cover in 95 of 100. An estimate must come from models fitted on fewer images: so
there are data sets in which a few more hardly help, and others in which they help a lot. The figure of selection is
taken from single folds' heads: it promises too much for these, though the ensemble of all may do as well.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from joblib import Parallel, cpu_count, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import (
    GroupShuffleSplit,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featstore.evaluate import evaluate
from featstore.store.bags import Bags
from featstore.toolkit import MeanPool, MLPHead, m5
from featstore.toolkit.threads import one_core
from tests.benchmarks.simulated import Simulation

NOISE = Simulation(dim=256, apart=0, rank=200, of_blob=0.3, of_repeat=0.2)
KNOWN = {
    "more images hardly help": Simulation(dim=64, apart=0.2, rank=32),
    "more images help a lot": Simulation(dim=64, apart=0.08, rank=32, hidden=True),
}
FOUR = ("A", "B", "C", "D")
REPETITIONS, IMAGES, NEW_IMAGES = 100, 240, 4000
FOLDS, INNER_FOLDS = 10, 7
"""As `fit` and `evaluate` have them."""

TRUTHS = {"truth": "truth", "heads": "the truth of the single folds' heads that it was taken from"}

SPLITTERS = {
    "KFold": KFold(10, shuffle=True, random_state=0),
    "StratifiedKFold": StratifiedKFold(10, shuffle=True, random_state=0),
    "RepeatedStratifiedKFold": RepeatedStratifiedKFold(n_splits=10, n_repeats=2, random_state=0),
    "ShuffleSplit": ShuffleSplit(20, test_size=0.2, random_state=0),
    "StratifiedGroupKFold": StratifiedGroupKFold(10, shuffle=True, random_state=0),
    "GroupShuffleSplit": GroupShuffleSplit(20, test_size=0.2, random_state=0),
}


def main() -> None:
    """Print both tables."""
    print("Labels drawn at random, 200 images of four classes: chance is a macro-F1 of 0.25.\n")
    print("| what | macro-F1 |\n| --- | --- |")
    for name, told in leakage().items():
        print(f"| {name} | {told} |")
    for name, population in KNOWN.items():
        print(f"\n{REPETITIONS} data sets of {IMAGES} images in which {name}.")
        _print(coverage(population))


def leakage() -> dict[str, str]:
    """Score models on labels at random, by images in every way and by rows."""
    bags = NOISE.bags(dict.fromkeys(FOUR, 50), repeats=4, seed=0)
    figure = evaluate(_quick(INNER_FOLDS), bags, n_splits=FOLDS).figures()["macro_f1"]
    told = {"`evaluate`": f"{figure['mean']:.3f} (95%: {figure['ci_low']:.3f} to {figure['ci_high']:.3f})"}
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for name, splitter in SPLITTERS.items():
        groups = bags.groups if "Group" in name else None
        pooled = make_pipeline(MeanPool(), logistic)
        scores = cross_val_score(pooled, bags, bags.labels, groups=groups, cv=splitter, scoring="f1_macro")
        told[f"`{name}` on `Bags`"] = f"{scores.mean():.3f}"
    rows = bags.instances("all")
    by_row = cross_val_score(
        logistic,
        rows.embeddings,
        bags.labels[rows.image],
        cv=StratifiedKFold(10, shuffle=True, random_state=0),
        scoring="f1_macro",
    )
    return told | {"`StratifiedKFold` on rows, the naive way": f"{by_row.mean():.3f}"}


def coverage(population: Simulation) -> dict[str, np.ndarray]:
    """Compare estimates with what the fitted model does on new images."""
    new = population.bags(dict.fromkeys(FOUR, NEW_IMAGES // 4), repeats=0, seed=10**6)
    table = Parallel(n_jobs=cpu_count())(delayed(partial(_one, population, new))(seed) for seed in range(REPETITIONS))
    return {name: np.array([row[name] for row in table]) for name in table[0]}


def _print(found: dict[str, np.ndarray]) -> None:
    covered, truth = found["covered"], found["truth"]
    print(f"True macro-F1: {truth.min():.2f} to {truth.max():.2f}, mean {truth.mean():.3f}.\n")
    print("| what | |\n| --- | --- |")
    print(f"| 95% intervals of `evaluate` that cover the truth | {int(covered.sum())} of {len(covered)} |")
    for name, other in (("evaluate", "truth"), ("selection", "truth"), ("selection", "heads")):
        away = found[name] - found[other]
        error = away.std(ddof=1) / len(away) ** 0.5
        print(f"| {name} less {TRUTHS[other]}, mean (standard error) | {away.mean():+.4f} ({error:.4f}) |", flush=True)


def _one(population: Simulation, new: Bags, seed: int) -> dict[str, float]:
    with one_core():
        bags = population.bags(dict.fromkeys(FOUR, IMAGES // 4), repeats=1, seed=seed)
        evaluation = evaluate(_quick(INNER_FOLDS), bags, n_splits=FOLDS)
        figure = evaluation.figures()["macro_f1"]
        fitted = _quick(FOLDS).fit(bags, bags.labels)
        truth, *heads = (
            f1_score(new.labels, each.predict(new), average="macro") for each in (fitted, *fitted.estimators_)
        )
    return {
        "truth": truth,
        "heads": np.mean(heads),
        "evaluate": figure["mean"],
        "covered": figure["ci_low"] <= truth <= figure["ci_high"],
        "selection": fitted.oof_macro_f1_,
    }


def _quick(n_splits: int):
    """Three quick heads, whose weights, temperatures and epochs are chosen on validation parts."""
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    heads = [("mlp", MLPHead(hidden=(16,), max_epochs=15)), ("logistic", logistic), ("bayes", GaussianNB())]
    return m5(random_state=0, n_splits=n_splits, heads=heads)


if __name__ == "__main__":
    main()
