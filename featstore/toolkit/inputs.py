"""What estimators take: bags or a 2-D array, labels, groups and settings."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples, column_or_1d, indexable, validate_data

from featstore.canonical import is_number, is_whole
from featstore.errors import DataError, LabelError, SettingError
from featstore.store.bags import Bags
from featstore.store.joined import JoinedBags
from featstore.store.runs import pieces
from featstore.toolkit.delegating import Delegating

__all__ = [
    "Samples",
    "are_weights",
    "as_bags",
    "check_bags",
    "check_finite",
    "check_groups",
    "check_labels",
    "check_samples",
    "encode",
    "groups_of",
    "is_number",
    "is_whole",
    "order_of_names",
    "require",
    "require_classes",
    "require_probabilities",
]

Samples: TypeAlias = Bags | JoinedBags | NDArray[Any]


def require(ok: bool, found: str, expected: str, remedy: str = "") -> None:
    """Raise `SettingError` unless ``ok``."""
    if not ok:
        raise SettingError(found, expected=expected, remedy=remedy)


def are_weights(value: Any, count: int) -> bool:
    """Tell whether ``value`` is a sequence of ``count`` numbers, 0 or more, and not 0 throughout."""
    given = list(value) if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1 else []
    return len(given) == count and all(is_number(weight, 0, np.inf) for weight in given) and sum(given) > 0


def check_samples(estimator: Any, X: Any, *, reset: bool) -> Samples:
    """Validate X and return bags as they are and anything else as a finite numeric 2-D array.

    With ``reset`` it sets ``n_features_in_`` (and ``feature_names_in_`` for data frames), else it compares with them.
    What is no bags goes through a `Delegating` estimator as it is.
    """
    if not isinstance(X, Bags | JoinedBags):
        if isinstance(estimator, Delegating):
            untouched: Samples = indexable(X)[0]
            return untouched
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


def require_classes(estimator: Any, classes: NDArray[Any]) -> None:
    """Raise `SettingError` for a fitted classifier that knows other classes: a frozen one, fitted elsewhere."""
    found = np.asarray(estimator.classes_)
    require(
        np.array_equal(found, classes),
        f"{type(estimator).__name__} knows the classes {found.tolist()}",
        f"those of the labels, {classes.tolist()}",
        "Freeze a classifier that was fitted on the same classes, inside PooledHead as 0, 1, ...",
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


def order_of_names(X: Samples) -> NDArray[np.intp] | None:
    """Return the order in which to work on bags, so that theirs in X decides nothing; None for arrays, and in order."""
    if not isinstance(X, Bags | JoinedBags):
        return None
    order = np.argsort(X.images, kind="stable")
    return None if (np.diff(order) == 1).all() else order


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
