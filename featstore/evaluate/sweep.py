"""One setting varied, all else equal: what more repeats, more blobs, another encoder or preset would have brought."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from featstore.evaluate.estimate import Evaluation, compare, without_nan
from featstore.evaluate.nested import Candidate, Done, cross_validate_nested
from featstore.store.disk.files import write_atomically

__all__ = ["Row", "sweep", "write_rows"]

Row = dict[str, Any]
"""A setting and its figures: what ``sweep --json`` prints."""


def sweep(
    candidates: Sequence[tuple[Row, Candidate]],
    *,
    n_splits: int = 10,
    n_seeds: int = 3,
    random_state: int = 0,
    n_jobs: int | None = None,
    callback: Callable[[Done], object] | None = None,
) -> list[Row]:
    """Evaluate settings on the same folds with the same seeds, nested, each against the first.

    Parameters
    ----------
    candidates : sequence of (dict, Candidate)
        Each with the setting that goes into its row.
    n_splits, n_seeds, random_state, n_jobs, callback
        As `evaluate` takes them.

    Returns
    -------
    list of dict
        A row a candidate: the setting; for ``macro_f1``, ``accuracy`` and ``log_loss`` ``_mean``, ``_std`` over seeds
        (None for one), ``_ci_low`` and ``_ci_high`` over images; ``difference`` of the macro-F1 to the first row's,
        paired, with its
        ``difference_ci_low`` and ``difference_ci_high``; ``images`` and `data_digest`; and ``macro_f1_by_seed``.
    """
    evaluations = cross_validate_nested(
        [candidate for _, candidate in candidates],
        n_splits=n_splits,
        n_seeds=n_seeds,
        random_state=random_state,
        n_jobs=n_jobs,
        callback=callback,
    )
    return [
        {**setting, **_figures(evaluation, evaluations[0])}
        for (setting, _), evaluation in zip(candidates, evaluations, strict=True)
    ]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, without the figures of single seeds."""
    names = [name for name, value in rows[0].items() if not isinstance(value, list)]
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    lines.writeheader()
    lines.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def _figures(evaluation: Evaluation, first: Evaluation) -> Row:
    found, row = evaluation.figures(), Row()
    for name in ("macro_f1", "accuracy", "log_loss"):
        row |= {f"{name}_{part}": value for part, value in found[name].items()}
    paired = compare(evaluation, first)["macro_f1"]
    row |= {"difference": paired["difference"]}
    row |= {f"difference_{part}": paired[part] for part in ("ci_low", "ci_high")}
    row |= {"images": len(evaluation.images), "data_digest": evaluation.data_digest}
    finite: Row = without_nan(row | {"macro_f1_by_seed": [figures["macro_f1"] for figures in evaluation.per_seed]})
    return finite
