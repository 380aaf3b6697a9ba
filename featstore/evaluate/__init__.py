"""Honest figures: nested cross-validation, intervals over images, and paired comparisons."""

from featstore.evaluate.bootstrap import RESAMPLES, interval, resampled_weights, widened
from featstore.evaluate.estimate import Comparison, Evaluation, compare
from featstore.evaluate.judged import data_digest
from featstore.evaluate.metrics import METRICS, Scored
from featstore.evaluate.nested import Candidate, Done, cross_validate_nested, evaluate
from featstore.evaluate.sweep import Row, sweep, write_rows

__all__ = [
    "METRICS",
    "RESAMPLES",
    "Candidate",
    "Comparison",
    "Done",
    "Evaluation",
    "Row",
    "Scored",
    "compare",
    "cross_validate_nested",
    "data_digest",
    "evaluate",
    "interval",
    "resampled_weights",
    "sweep",
    "widened",
    "write_rows",
]
