"""Folds, and the scores: what each of them has seen is said with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.evaluate import Scored
from featstore.evaluate.metrics import ECE_BINS
from featstore.report.charts import MOST_CELLS, confusion, reliability, swept
from featstore.report.fitted import OutOfFold

__all__ = [
    "bins_of",
    "confusion_matrix",
    "folds_section",
    "reproduction_section",
    "selection_section",
    "sweep_section",
]

Values = dict[str, Any]

FIGURES = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "log_loss": "log-loss",
}

_SWEPT = {"store": "stores", "preset": "presets", "max_blobs": "blobs", "repeats": "repeats", "scales": "scales"}


def folds_section(model: Any, found: OutOfFold) -> Values:
    """Tell of each fold how many images of each class it left out, and what it says of them."""
    groups, places = np.unique(found.bags.groups, return_inverse=True)
    pairs = np.unique(np.stack([places, found.folds]), axis=1)
    split_groups = int((np.bincount(pairs[0]) > 1).sum())
    rows = []
    for score in model.fold_scores_:
        inside = found.folds == score["fold"]
        counts = np.bincount(found.codes[inside], minlength=len(found.classes))
        members = len(np.unique(found.bags.groups[inside]))
        rows.append({**score, "images": int(inside.sum()), "groups": members, "counts": counts.tolist()})
    names = [name for kind in ("temperatures", "weights") for name in (rows[0].get(kind) or {})]
    return {
        "rows": rows,
        "classes": found.classes.tolist(),
        "heads": list(dict.fromkeys(names)),
        "groups": len(groups),
        "split_groups": split_groups,
        "images": len(found.images),
    }


def selection_section(found: OutOfFold) -> Values:
    """Tell the out-of-fold figures, which are figures of selection."""
    scored = found.scored()
    figures = scored.figures()
    matrix = confusion_matrix(found.codes, found.predicted, len(found.classes))
    classes = found.classes.tolist()
    curves = {"calibrated" if found.uncalibrated is not None else "as it is": bins_of(found.probabilities, found.codes)}
    before = None
    if found.uncalibrated is not None:
        curves = {"before calibration": bins_of(found.uncalibrated, found.codes)} | {
            "after calibration": curves["calibrated"]
        }
        once = np.ones((1, len(found.codes)))
        before = {
            name: float(value[0]) for name, value in Scored(found.uncalibrated, found.codes).figures(once).items()
        }
    return {
        "figures": [(told, figures[name], None if before is None else before[name]) for name, told in FIGURES.items()],
        "per_class": scored.per_class(),
        "matrix": matrix.tolist(),
        "classes": classes,
        "confusion": confusion(matrix, classes),
        "folded": len(classes) - MOST_CELLS + 1 if len(classes) > MOST_CELLS else 0,
        "reliability": reliability(curves),
        "curves": curves,
        "images": len(found.codes),
        "wrong": int(found.wrong.sum()),
    }


def sweep_section(rows: Sequence[Values]) -> Values:
    """Tell the rows of a sweep, which of their settings vary, and of which stores and how many images they are."""
    varied = [name for name in _SWEPT if len({row.get(name) for row in rows}) > 1]
    return {
        "rows": rows,
        "shown": varied or ["repeats"],
        "words": ", ".join(_SWEPT[name] for name in varied or ["repeats"]),
        "curve": swept(rows),
        "stores": ", ".join(dict.fromkeys(row["store"] for row in rows)),
        "images": max(row["images"] for row in rows),
    }


def reproduction_section(content: Values) -> Values:
    """Tell the comparison of systems."""
    known = ("store", "images", "outer_folds", "seeds", "from_scratch")
    return {"systems": content["systems"], "repeats": content["repeats"], **{name: content.get(name) for name in known}}


def confusion_matrix(codes: NDArray[np.intp], predicted: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Count images by true class (rows) and predicted class (columns)."""
    matrix = np.zeros((count, count), dtype=np.intp)
    np.add.at(matrix, (codes, predicted), 1)
    return matrix


def bins_of(probabilities: NDArray[np.float64], codes: NDArray[np.intp]) -> list[tuple[float, float, int]]:
    """Return (mean confidence, share right, images) of each bin that has images; the bins of the calibration error."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == codes
    bins = np.clip(np.ceil(sure * ECE_BINS).astype(np.intp) - 1, 0, ECE_BINS - 1)
    inside = [bins == each for each in np.unique(bins)]
    return [(float(sure[each].mean()), float(right[each].mean()), int(each.sum())) for each in inside]
