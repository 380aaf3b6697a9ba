"""Labelled images and what each counts, their validation part, and how an estimator is told of both."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._metadata_requests import MetadataRequest, _routing_enabled
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, _num_samples, has_fit_parameter

from featstore.errors import LabelError, SettingError
from featstore.toolkit.inputs import (
    Samples,
    check_groups,
    check_labels,
    check_samples,
    encode,
    groups_of,
    is_number,
    require,
)
from featstore.toolkit.splits import hold_out

__all__ = [
    "EvalSet",
    "Labelled",
    "check_validation",
    "fit_estimator",
    "is_booster",
    "of_two_classes",
    "takes_groups",
    "that_count",
    "weights_of_classes",
    "with_validation",
]

EvalSet: TypeAlias = tuple[Any, Any] | tuple[Any, Any, Any]


class Labelled(NamedTuple):
    """Images with their labels, what each counts (alike without weights), and groups other than those that X has."""

    X: Any
    y: NDArray[Any]
    sample_weight: NDArray[np.float64] | None = None
    groups: NDArray[Any] | None = None

    def part(self, chosen: NDArray[Any]) -> Labelled:
        """Return some of the images, by a mask or by positions."""
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        weights, groups = (None if column is None else column[rows] for column in self[2:])
        return Labelled(_safe_indexing(self.X, rows), self.y[rows], weights, groups)


def that_count(X: Samples, y: NDArray[Any], sample_weight: Any = None, groups: Any = None) -> Labelled:
    """Validate weights, 0 or more, and return the images that weigh more than 0; `LabelError` if there are none."""
    together = None if groups is None else check_groups(X, groups, len(y))
    if sample_weight is None:
        return Labelled(X, y, groups=together)
    weights = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise LabelError("sample_weight is 0 for every image", expected="an image that counts, or more")
    whole = Labelled(X, y, weights, together)
    return whole if weights.all() else whole.part(weights > 0)


def of_two_classes(training: Labelled) -> Labelled:
    """Return the images, or raise `LabelError` where they are all of one class."""
    if len(classes := np.unique(training.y)) < 2:
        found = f"one class, {str(classes[0])!r}, in all labels" if len(classes) else "no labels"
        raise LabelError(found, expected="two classes or more")
    return training


def check_validation(estimator: Any, eval_set: EvalSet, classes: NDArray[Any]) -> Labelled:
    """Validate an ``eval_set``, and return its images that weigh more than 0."""
    ok = isinstance(eval_set, (tuple, list)) and len(eval_set) in (2, 3)
    require(ok, f"eval_set is a {type(eval_set).__name__}", "a tuple (X, y) or (X, y, sample_weight)")
    X = check_samples(estimator, eval_set[0], reset=False)
    validation = that_count(X, check_labels(estimator, eval_set[1], _num_samples(X)), *eval_set[2:])
    encode(validation.y, classes)
    return validation


def weights_of_classes(class_weight: Any, classes: NDArray[Any], images: Labelled) -> NDArray[np.float64]:
    """Return what an image of each class counts, (n_classes,); images count their ``sample_weight`` in "balanced"."""
    weights: NDArray[np.float64] = compute_class_weight(class_weight, classes=classes, y=images.y)
    if images.sample_weight is not None and isinstance(class_weight, str):
        counts = np.bincount(encode(images.y, classes), images.sample_weight)
        weights = images.sample_weight.sum() / (len(classes) * counts)
    return weights


def with_validation(
    estimator: Any,
    X: Samples,
    y: NDArray[Any],
    eval_set: EvalSet | None,
    sample_weight: Any = None,
    groups: Any = None,
) -> tuple[Labelled, Labelled | None]:
    """Return what to train on and what to validate on; images that weigh 0 are in neither.

    Parameters
    ----------
    estimator : estimator
        Its ``validation_fraction`` and ``random_state`` decide the hold-out when no ``eval_set`` is given.
    X, y : Bags or ndarray, ndarray of shape (n_images,)
        Already validated.
    eval_set : tuple of (X, y) or (X, y, sample_weight), optional
        Validated here.
    sample_weight, groups : array-like of shape (n_images,), optional
        Validated here. The groups of X where none are given.

    Returns
    -------
    training : Labelled
    validation : Labelled or None
        None where a class is too rare to hold any of it out (see `hold_out`).
    """
    training = of_two_classes(that_count(X, y, sample_weight, groups))
    if eval_set is not None:
        return training, check_validation(estimator, eval_set, np.unique(training.y))
    fraction = estimator.validation_fraction
    ok = is_number(fraction, 0, 1) and fraction > 0
    require(ok, f"validation_fraction is {fraction!r}", "a share between 0 and 1")
    together = groups_of(training.X) if training.groups is None else training.groups
    held = hold_out(training.y, together, fraction, check_random_state(estimator.random_state))
    return (training, None) if held is None else (training.part(~held), training.part(held))


def fit_estimator(estimator: Any, training: Labelled, validation: Labelled | None) -> Any:
    """Fit, passing weights on, and the validation part to an estimator whose ``fit`` takes an ``eval_set``.

    Without a validation part an estimator may hold out images for itself, by the groups that X does not have.

    The toolkit's estimators take one tuple; the boosters that came up with the word take a list of pairs.

    Raises
    ------
    SettingError
        If there are weights and the estimator takes none.
    """
    fit_params = _weights_for(estimator, training.sample_weight)
    if validation is None and training.groups is not None and takes_groups(estimator, training.y):
        fit_params["groups"] = training.groups
    if validation is None or not has_fit_parameter(estimator, "eval_set"):
        return estimator.fit(training.X, training.y, **fit_params)
    pair, weights = (validation.X, validation.y), validation.sample_weight
    fit_params["eval_set"] = pair if weights is None else (*pair, weights)
    if is_booster(estimator):
        fit_params["eval_set"] = [pair]
        if is_booster(estimator, "xgboost"):
            fit_params |= {"sample_weight_eval_set": None if weights is None else [weights], "verbose": False}
        elif is_booster(estimator, "lightgbm"):
            fit_params["eval_sample_weight"] = None if weights is None else [weights]
    return estimator.fit(training.X, training.y, **fit_params)


def takes_groups(estimator: Any, y: NDArray[Any]) -> bool:
    """Tell whether ``fit`` has a use for groups: the toolkit's estimators, and searches whose splitter goes by them."""
    if not isinstance(estimator, BaseSearchCV):
        return bool(has_fit_parameter(estimator, "groups"))
    splitter = check_cv(estimator.cv, y, classifier=True)
    return bool(splitter.get_metadata_routing().split.requests.get("groups"))


def _weights_for(estimator: Any, weights: NDArray[np.float64] | None) -> dict[str, Any]:
    """Return how to tell an estimator, or the last step of a pipeline (in a search), what images count."""
    if weights is None or isinstance(estimator, FrozenEstimator):  # which learns nothing
        return {}
    prefix, last = "", estimator
    while isinstance(last, Pipeline | BaseSearchCV):
        if isinstance(last, BaseSearchCV):
            last = last.estimator
            continue
        _request_weights(last)
        name, last = last.steps[-1]
        prefix += f"{name}__"
    passed_on = any(each.kind is Parameter.VAR_KEYWORD for each in signature(last.fit).parameters.values())
    if not passed_on and not has_fit_parameter(last, "sample_weight"):
        raise SettingError(
            f"{type(last).__name__} takes no sample_weight",
            expected="one that does, for class_weight, and where images have weights or different numbers of repeats",
        )
    return {"sample_weight" if _routing_enabled() else f"{prefix}sample_weight": weights}


def _request_weights(pipeline: Pipeline) -> None:
    """Let weights reach the last step alone, as they do without routing, where nobody has said otherwise."""
    for number, step in enumerate(pipeline.named_steps.values(), start=1):
        request = step.get_metadata_routing() if _routing_enabled() and hasattr(step, "set_fit_request") else None
        if isinstance(request, MetadataRequest) and request.fit.requests.get("sample_weight", True) is None:
            step.set_fit_request(sample_weight=number == len(pipeline))


def is_booster(estimator: Any, *packages: str) -> bool:
    """Tell whether the estimator's class comes from xgboost, lightgbm or catboost, or from those of them named."""
    wanted = packages or ("xgboost", "lightgbm", "catboost")
    return any(cls.__module__.partition(".")[0] in wanted for cls in type(estimator).__mro__)
