"""Public data sets through the toolkit's heads and scikit-learn's own classifiers, on the same folds."""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featstore.toolkit import MLPHead, m5

SETS = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}
FOLDS = StratifiedKFold(5, shuffle=True, random_state=0)


def main() -> None:
    """Print the table: macro-F1, mean of five folds, and the seconds of all of them."""
    models = {
        "`MLPHead`": MLPHead(random_state=0),
        "M5, five folds": m5(random_state=0, n_splits=5),
        "`MLPClassifier`, scaled, early stopping": make_pipeline(
            StandardScaler(), MLPClassifier((128,), early_stopping=True, random_state=0)
        ),
        "`LogisticRegression`, scaled": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "`HistGradientBoostingClassifier`": HistGradientBoostingClassifier(random_state=0),
    }
    print("Macro-F1, mean (standard deviation) of five folds; seconds.\n")
    print(f"| model | {' | '.join(SETS)} |\n| --- | {' | '.join('---' for _ in SETS)} |")
    for name, model in models.items():
        print(f"| {name} | {' | '.join(_scored(model, *load(return_X_y=True)) for load in SETS.values())} |")


def _scored(model: object, X: np.ndarray, y: np.ndarray) -> str:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = cross_val_score(model, X, y, cv=FOLDS, scoring="f1_macro")
    return f"{scores.mean():.3f} ({scores.std(ddof=1):.3f}); {time.perf_counter() - start:.1f} s"


if __name__ == "__main__":
    main()
