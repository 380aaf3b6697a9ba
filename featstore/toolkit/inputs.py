"""What estimators take: bags or a 2-D array, labels, and a validation part."""

from __future__ import annotations

from inspect import Parameter, signature
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, _num_samples, column_or_1d, has_fit_parameter, validate_data

from featstore.errors import DataError, LabelError, SettingError
from featstore.store.bags import Bags
from featstore.store.joined import JoinedBags
from featstore.store.runs import pieces
from featstore.toolkit.splits import hold_out

__all__ = [
    "EvalSet",
    "Labelled",
    "Samples",
    "as_bags",
    "check_bags",
    "check_finite",
    "check_groups",
    "check_labels",
    "check_samples",
    "check_validation",
    "counted",
    "encode",
    "fit_estimator",
    "groups_of",
    "is_booster",
    "is_number",
    "is_whole",
    "order_of_names",
    "require",
    "require_probabilities",
    "that_count",
    "weights_of_classes",
    "with_validation",
]

Samples: TypeAlias = Bags | JoinedBags | NDArray[Any]
EvalSet: TypeAlias = tuple[Any, Any] | tuple[Any, Any, Any]


class Labelled(NamedTuple):
    """Images with their labels, and what each counts; alike without weights."""

    X: Any
    y: NDArray[Any]
    sample_weight: NDArray[np.float64] | None = None

    def part(self, chosen: NDArray[Any]) -> Labelled:
        """Return some of the images, by a mask or by positions."""
        weights = None if self.sample_weight is None else self.sample_weight[chosen]
        return Labelled(self.X[chosen], self.y[chosen], weights)


def require(ok: bool, found: str, expected: str, remedy: str = "") -> None:
    """Raise `SettingError` unless ``ok``."""
    if not ok:
        raise SettingError(found, expected=expected, remedy=remedy)


def is_whole(value: Any, low: int = 1) -> bool:
    """Tell whether ``value`` is a whole number, ``low`` or more."""
    return isinstance(value, Integral) and int(value) >= low


def is_number(value: Any, low: float, high: float) -> bool:
    """Tell whether ``value`` is a number from ``low`` up to, and without, ``high``."""
    return isinstance(value, Real) and low <= float(value) < high


def check_samples(estimator: Any, X: Any, *, reset: bool) -> Samples:
    """Validate X and return bags as they are and anything else as a finite numeric 2-D array.

    With ``reset`` it sets ``n_features_in_`` (and ``feature_names_in_`` for data frames), else it compares with them.
    """
    if not isinstance(X, Bags | JoinedBags):
        array: NDArray[Any] = validate_data(estimator, X, reset=reset)
        return array
    if len(X) == 0:
        raise DataError("bags of no image", expected="one image or more")
    if reset:
        estimator.n_features_in_ = X.dim
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif X.dim != getattr(estimator, "n_features_in_", X.dim):
        raise DataError(
            f"embeddings of {X.dim} numbers",
            expected=f"{estimator.n_features_in_}, as {type(estimator).__name__} was fitted on",
            remedy="Use a store made with the same encoder.",
        )
    return X


def check_bags(estimator: Any, X: Any, *, reset: bool) -> Bags:
    """Validate X as `check_samples` does and return it as bags."""
    return as_bags(check_samples(estimator, X, reset=reset))


def as_bags(X: Samples) -> Bags:
    """Return bags as they are, and each row of an array as an image with one blob."""
    if isinstance(X, Bags):
        return X
    if isinstance(X, JoinedBags):
        raise DataError(
            f"embeddings of {len(X.views)} encoders",
            expected="those of one",
            remedy="Tell the head which to use: OnView(head, 0).",
        )
    with np.errstate(over="ignore"):  # what doesn't fit is told below, as an error
        return Bags.from_array(check_finite(X.astype(np.float32)))


def check_finite(embeddings: NDArray[Any], rows: NDArray[np.intp] | None = None) -> NDArray[Any]:
    """Return the embeddings (n, dim), or raise `DataError` if one (of some rows) holds NaN or infinity as float32."""
    rows = np.arange(len(embeddings)) if rows is None else rows
    bad = 0
    for piece in pieces(len(rows), 4 * embeddings.shape[1]):
        with np.errstate(over="ignore"):
            some = embeddings[rows[piece]].astype(np.float32, copy=False)
        bad += int((~np.isfinite(some).all(axis=1)).sum())
    if bad:
        raise DataError(
            f"{bad} of {len(rows)} embeddings hold NaN or infinity", expected="finite numbers that fit float32"
        )
    return embeddings


def check_labels(estimator: Any, y: Any, n_samples: int) -> NDArray[Any]:
    """Validate class labels, one an image, and return them as a 1-D array."""
    name = type(estimator).__name__
    if y is None:
        raise LabelError(f"This {name} estimator requires y to be passed, but the target y is None")
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    check_classification_targets(labels)
    if len(labels) != n_samples:
        raise LabelError(f"{len(labels)} labels for {_plural(n_samples, 'image')}", expected="one label an image")
    blank = sum(isinstance(label, str) and not label for label in labels)
    if blank:
        raise LabelError(
            f"{blank} of {len(labels)} images have no label",
            expected="a label for every image",
            remedy="Fit on the labelled ones: keep = X.labels != ''; fit(X[keep], y[keep]).",
        )
    return labels


def encode(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    """Return the position of each label in the sorted ``classes``; `LabelError` for one that is not there."""
    codes = np.minimum(np.searchsorted(classes, y), len(classes) - 1).astype(np.intp)
    strange = np.unique(y[classes[codes] != y])
    if len(strange):
        expected = f"one of {[str(label) for label in classes]}"
        raise LabelError(f"the validation part has class {str(strange[0])!r}", expected=expected)
    return codes


def require_probabilities(estimator: Any) -> None:
    """Raise `SettingError` for a classifier without ``predict_proba``."""
    name = type(estimator).__name__
    require(
        hasattr(estimator, "predict_proba"),
        f"{name} has no predict_proba",
        "a classifier that gives probabilities",
        f"Wrap it: TemperatureScaling({name}(...)).",
    )


def check_groups(X: Any, groups: Any, n_samples: int) -> NDArray[Any]:
    """Validate the groups given, one an image; those of X where none are."""
    together: NDArray[Any] = groups_of(X) if groups is None else column_or_1d(groups)
    if len(together) != n_samples:
        raise LabelError(f"{len(together)} groups for {n_samples} images", expected="one group an image")
    return together


def groups_of(X: Samples) -> NDArray[Any]:
    """Return the group of each image; in an array every row is its own."""
    return X.groups if isinstance(X, Bags | JoinedBags) else np.arange(_num_samples(X))


def that_count(X: Samples, y: NDArray[Any], sample_weight: Any = None) -> Labelled:
    """Validate weights, 0 or more, and return the images that weigh more than 0; `LabelError` if there are none."""
    if sample_weight is None:
        return Labelled(X, y)
    weights = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise LabelError("sample_weight is 0 for every image", expected="an image that counts, or more")
    whole = Labelled(X, y, weights)
    return whole if weights.all() else whole.part(weights > 0)


def counted(X: Samples, y: NDArray[Any], sample_weight: Any) -> Labelled:
    """Return the images that weigh more than 0, or raise `LabelError` where they are all of one class."""
    training = that_count(X, y, sample_weight)
    classes = np.unique(training.y)
    if len(classes) < 2:
        raise LabelError(f"one class, {str(classes[0])!r}, in all labels", expected="two classes or more")
    return training


def order_of_names(X: Samples) -> NDArray[np.intp] | None:
    """Return the order in which to work on bags, so that theirs in X decides nothing; None for arrays, and in order."""
    if not isinstance(X, Bags | JoinedBags):
        return None
    order = np.argsort(X.images, kind="stable")
    return None if (np.diff(order) == 1).all() else order


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
    estimator: Any, X: Samples, y: NDArray[Any], eval_set: EvalSet | None, sample_weight: Any = None
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
    sample_weight : array-like of shape (n_images,), optional
        Validated here.

    Returns
    -------
    training : Labelled
    validation : Labelled or None
        None where a class is too rare to hold any of it out (see `hold_out`).
    """
    training = counted(X, y, sample_weight)
    if eval_set is not None:
        return training, check_validation(estimator, eval_set, np.unique(training.y))
    fraction = estimator.validation_fraction
    ok = is_number(fraction, 0, 1) and fraction > 0
    require(ok, f"validation_fraction is {fraction!r}", "a share between 0 and 1")
    held = hold_out(training.y, groups_of(training.X), fraction, check_random_state(estimator.random_state))
    return (training, None) if held is None else (training.part(~held), training.part(held))


def fit_estimator(estimator: Any, training: Labelled, validation: Labelled | None) -> Any:
    """Fit, passing weights on, and the validation part to an estimator whose ``fit`` takes an ``eval_set``.

    The toolkit's estimators take one tuple; the boosters that came up with the word take a list of pairs.

    Raises
    ------
    SettingError
        If there are weights and the estimator takes none.
    """
    fit_params = _weights_for(estimator, training.sample_weight)
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


def _weights_for(estimator: Any, weights: NDArray[np.float64] | None) -> dict[str, Any]:
    """Return how to tell an estimator, or the last step of a pipeline, what images count."""
    if weights is None or isinstance(estimator, FrozenEstimator):  # which learns nothing
        return {}
    prefix, last = "", estimator
    while isinstance(last, Pipeline):
        name, last = last.steps[-1]
        prefix += f"{name}__"
    passed_on = any(each.kind is Parameter.VAR_KEYWORD for each in signature(last.fit).parameters.values())
    if not passed_on and not has_fit_parameter(last, "sample_weight"):
        raise SettingError(
            f"{type(last).__name__} takes no sample_weight",
            expected="one that does, for class_weight, and where images have weights or different numbers of repeats",
        )
    return {"sample_weight" if _routing_enabled() else f"{prefix}sample_weight": weights}


def is_booster(estimator: Any, *packages: str) -> bool:
    """Tell whether the estimator's class comes from xgboost, lightgbm or catboost, or from those of them named."""
    wanted = packages or ("xgboost", "lightgbm", "catboost")
    return any(cls.__module__.partition(".")[0] in wanted for cls in type(estimator).__mro__)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
