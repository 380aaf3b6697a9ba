"""Where logits come from, and what is done with them. Probabilities and logits are never told apart by their values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.special import softmax as _softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from featstore.errors import SettingError
from featstore.toolkit.labelled import is_booster

__all__ = ["LogitClassifier", "cross_entropy", "log_loss", "logits_of", "probabilities_of", "softmax"]

Logits = NDArray[np.float64]


class LogitClassifier(ClassifierMixin, BaseEstimator):
    """Base of classifiers that compute ``logits(X)``; all other predictions follow from these."""

    classes_: NDArray[Any]

    def logits(self, X: Any) -> Logits:
        """Return logits of shape (n_images, n_classes), also for two classes."""
        raise NotImplementedError

    def decision_function(self, X: Any) -> Logits:
        """Return the logits (n_images, n_classes); for two classes their difference, of shape (n_images,)."""
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n_images, n_classes): the softmax of the logits."""
        return softmax(self.logits(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of the largest logit, of shape (n_images,)."""
        check_is_fitted(self)
        labels: NDArray[Any] = self.classes_[self.logits(X).argmax(axis=1)]
        return labels


def logits_of(estimator: Any, X: Any) -> Logits:
    """Return a fitted classifier's logits of shape (n_images, n_classes), in float64.

    The first of these that the classifier has:

    1. ``logits``: the toolkit's own estimators;
    2. for xgboost's classifiers the margin, ``predict(output_margin=True)``;
    3. ``decision_function``; for two classes its one column ``d``, the log-odds of most classifiers, is the difference
       of the two logits ``(-d/2, d/2)``;
    4. ``log(predict_proba + eps)`` with the eps of the probabilities' type, as scikit-learn has it.

    A pipeline is asked through its last step, a frozen estimator through what it holds.

    Raises
    ------
    SettingError
        If the classifier has none of these, or its columns are not one a class: one a pair of classes, for instance.
    """
    if isinstance(estimator, FrozenEstimator):
        return logits_of(estimator.estimator, X)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        return logits_of(estimator[-1], estimator[:-1].transform(X))
    logits = _raw(estimator, X)
    if logits.ndim == 1 or logits.shape[1] == 1:
        half = logits.reshape(-1) / 2
        logits = np.stack([-half, half], axis=1)
    pairwise = getattr(estimator, "decision_function_shape", None) == "ovo"
    if logits.shape[1] != len(estimator.classes_) or (pairwise and logits.shape[1] > 2):
        raise SettingError(
            f"{type(estimator).__name__} gives {logits.shape[1]} columns for {len(estimator.classes_)} classes",
            expected="one logit a class",
            remedy='Set decision_function_shape="ovr".' if pairwise else "",
        )
    return logits


def probabilities_of(estimator: Any, X: Any) -> NDArray[np.float64]:
    """Return probabilities that sum to 1 in double precision, also from a classifier that computes in float32."""
    given = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    probabilities: NDArray[np.float64] = given / given.sum(axis=1, keepdims=True)
    return probabilities


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Return probabilities over the last axis."""
    probabilities: NDArray[np.float64] = _softmax(logits, axis=-1)
    return probabilities


def log_loss(logits: Logits, codes: NDArray[np.intp], weights: NDArray[np.float64] | None = None) -> float:
    """Return the (weighted) mean cross-entropy in nats of logits (n, n_classes) against class positions (n,)."""
    return float(np.average(cross_entropy(logits, codes), weights=weights))


def cross_entropy(logits: Logits, codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the loss in nats of each sample (..., n) of logits (..., n, n_classes)."""
    losses: NDArray[np.float64] = logsumexp(logits, axis=-1) - logits[..., np.arange(len(codes)), codes]
    return losses


def _raw(estimator: Any, X: Any) -> NDArray[Any]:
    if hasattr(estimator, "logits"):
        return np.asarray(estimator.logits(X), dtype=np.float64)
    if is_booster(estimator, "xgboost"):
        return np.asarray(estimator.predict(X, output_margin=True), dtype=np.float64)
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(X), dtype=np.float64)
    if hasattr(estimator, "predict_proba"):
        probabilities = np.asarray(estimator.predict_proba(X))
        logits: Logits = np.log(probabilities + np.finfo(probabilities.dtype).eps).astype(np.float64)
        return logits
    raise SettingError(
        f"{type(estimator).__name__} has neither decision_function nor predict_proba",
        expected="a classifier that has one of them",
    )
