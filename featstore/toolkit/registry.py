"""The classes that a model file may hold, what is kept of each, and what must be true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import inf
from typing import Any

import numpy as np

from featstore.canonical import different_wholes
from featstore.errors import ModelFormatError
from featstore.toolkit.inputs import are_weights
from featstore.toolkit.scales import scales_fit

__all__ = ["REGISTRY", "Saved", "saved_class"]


@dataclass(frozen=True)
class Saved:
    """A class that can be saved.

    Attributes
    ----------
    module : str
        Imported when a file names the class. Never taken from a file.
    state : tuple of str
        The fitted attributes, which make an estimator predict what it did.
    check : callable
        Tells whether a fitted estimator fits together.
    how : tuple of str
        Parameters that change nothing of the result: left out, so that equal models are equal files.
    since : int
        Version of the format that it came with: files without it are of an earlier one, as they were.
    """

    module: str
    state: tuple[str, ...]
    check: Callable[[Any], bool]
    how: tuple[str, ...] = ()
    since: int = 1


def saved_class(name: Any) -> type:
    """Return the class of that name; `ModelFormatError` if it is not among those that can be saved."""
    if not isinstance(name, str) or name not in REGISTRY:
        raise ModelFormatError(f"an estimator of class {name!r}", expected=f"one of {', '.join(sorted(REGISTRY))}")
    found: type = getattr(import_module(REGISTRY[name].module), name)
    return found


def _same_classes(outer: Any, inner: Any) -> bool:
    return np.array_equal(outer.classes_, inner.classes_) and _same_width(outer, inner)


def _same_width(outer: Any, inner: Any) -> bool:
    width = getattr(inner, "n_features_in_", None)
    return width is None or width == outer.n_features_in_


def _classes(estimator: Any) -> int:
    """Return the number of classes, 0 if they are not two or more different labels in order."""
    classes = estimator.classes_
    ok = isinstance(classes, np.ndarray) and classes.ndim == 1 and len(classes) > 1
    return len(classes) if ok and np.array_equal(np.unique(classes), classes) else 0


def _float(array: Any, *shape: int) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.shape == shape


def _mlp(head: Any) -> bool:
    coefs, intercepts = head.coefs_, head.intercepts_
    if not isinstance(coefs, list) or not isinstance(intercepts, list) or len(coefs) != len(intercepts) or not coefs:
        return False
    width = head.n_features_in_
    for coef, intercept in zip(coefs, intercepts, strict=True):
        ok = isinstance(coef, np.ndarray) and coef.ndim == 2
        if not ok or not _float(coef, width, coef.shape[1]) or not _float(intercept, coef.shape[1]):
            return False
        width = coef.shape[1]
    return width == _classes(head) and head.level in ("blob", "image")


def _temperature(scaling: Any) -> bool:
    value, bounds = scaling.temperature_, scaling.bounds
    ok = isinstance(value, float) and isinstance(bounds, (list, tuple)) and len(bounds) == 2
    ok = ok and all(isinstance(bound, (int, float)) for bound in bounds) and 0 < bounds[0] < bounds[1] < inf
    # What fitting finds lies within, to its last digits; without a validation part it is 1 whatever the bounds.
    within = ok and (value == 1 or bounds[0] * (1 - 1e-9) <= value <= bounds[1] * (1 + 1e-9))
    return within and _classes(scaling) > 0 and _same_classes(scaling, scaling.estimator_)


def _fusion(fusion: Any) -> bool:
    weights, heads = fusion.weights_, fusion.estimators_
    if not isinstance(weights, dict) or not isinstance(heads, list) or len(weights) != len(heads) or not heads:
        return False
    ok = all(isinstance(name, str) and isinstance(w, float) and 0 <= w <= 1 for name, w in weights.items())
    ok = ok and abs(sum(weights.values()) - 1) < 1e-9 and _classes(fusion) > 0
    return ok and all(_same_classes(fusion, head) for head in heads)


def _pooled(head: Any) -> bool:
    inner = np.asarray(head.estimator_.classes_)
    return np.array_equal(inner, np.arange(_classes(head))) and _same_width(head, head.estimator_)


def _view(head: Any) -> bool:
    # A view is as wide as its head, all of them together are wider.
    ok = isinstance(head.view, int) and not isinstance(head.view, bool) and head.view >= 0
    return ok and _classes(head) > 0 and np.array_equal(head.classes_, head.estimator_.classes_)


def _scales(head: Any) -> bool:
    # Side by side, embeddings are as many times as long as there are scales.
    ok = scales_fit(head.scales, head.how)
    times = len(head.scales) if ok and head.how == "concatenate" else 1
    width = getattr(head.estimator_, "n_features_in_", None)
    ok = ok and width in (None, times * head.n_features_in_)
    return ok and _classes(head) > 0 and np.array_equal(head.classes_, head.estimator_.classes_)


def _scale_pool(pool: Any) -> bool:
    ok = scales_fit(pool.scales_, pool.how) and isinstance(pool.scales_, tuple)
    ok = ok and (pool.scales is None or different_wholes(pool.scales) == pool.scales_)
    return ok and (pool.weights is None or are_weights(pool.weights, len(pool.scales_)))


def _ensemble(ensemble: Any) -> bool:
    n_classes, folds, heads = _classes(ensemble), ensemble.folds_, ensemble.estimators_
    if not n_classes or not isinstance(heads, list) or not heads or not isinstance(folds, np.ndarray):
        return False
    scores = ensemble.fold_scores_
    ok = folds.ndim == 1 and _float(ensemble.oof_probabilities_, len(folds), n_classes)
    ok = ok and _float(ensemble.class_prior_, n_classes) and isinstance(ensemble.provenance_, dict)
    ok = ok and isinstance(scores, list) and len(scores) == len(heads) and all(isinstance(s, dict) for s in scores)
    return ok and all(_same_classes(ensemble, head) for head in heads)


def _pipeline(pipeline: Any) -> bool:
    steps = pipeline.steps
    return isinstance(steps, list) and bool(steps) and all(isinstance(step, tuple) and len(step) == 2 for step in steps)


def _scaler(scaler: Any) -> bool:
    width = scaler.n_features_in_
    return all(value is None or _float(value, width) for value in (scaler.mean_, scaler.scale_, scaler.var_))


def _logistic(model: Any) -> bool:
    rows = 1 if _classes(model) == 2 else _classes(model)
    return rows > 0 and _float(model.coef_, rows, model.n_features_in_) and _float(model.intercept_, rows)


def _anything(_: Any) -> bool:
    return True


REGISTRY: dict[str, Saved] = {
    "FoldEnsemble": Saved(
        "featstore.toolkit.ensemble",
        (
            "class_prior_",
            "classes_",
            "estimators_",
            "fold_scores_",
            "folds_",
            "oof_accuracy_",
            "oof_macro_f1_",
            "oof_probabilities_",
            "provenance_",
        ),
        _ensemble,
        how=("n_jobs",),
    ),
    "FrozenEstimator": Saved("sklearn.frozen", (), _anything),
    "LogisticRegression": Saved("sklearn.linear_model", ("classes_", "coef_", "intercept_", "n_iter_"), _logistic),
    "LogitFusion": Saved("featstore.toolkit.fusion", ("classes_", "estimators_", "weights_"), _fusion),
    "MLPHead": Saved(
        "featstore.toolkit.mlp",
        ("best_epoch_", "classes_", "coefs_", "intercepts_", "n_iter_", "validation_loss_"),
        _mlp,
    ),
    "MeanPool": Saved("featstore.toolkit.pooling", (), _anything),
    "OnScales": Saved("featstore.toolkit.scales", ("classes_", "estimator_"), _scales, since=2),
    "OnView": Saved("featstore.toolkit.views", ("classes_", "estimator_"), _view),
    "Pipeline": Saved("sklearn.pipeline", (), _pipeline),
    "PooledHead": Saved("featstore.toolkit.pooling", ("classes_", "estimator_"), _pooled),
    "ScalePool": Saved("featstore.toolkit.scales", ("scales_",), _scale_pool, since=2),
    "StandardScaler": Saved("sklearn.preprocessing", ("mean_", "n_samples_seen_", "scale_", "var_"), _scaler),
    "TemperatureScaling": Saved(
        "featstore.toolkit.temperature", ("classes_", "estimator_", "temperature_"), _temperature
    ),
    "XGBClassifier": Saved("xgboost", (), _anything),
}
