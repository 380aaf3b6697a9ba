"""Temperature scaling: one number that makes a classifier's confidence honest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import _num_samples, check_is_fitted

from featstore.toolkit.delegating import Delegating
from featstore.toolkit.inputs import check_labels, check_samples, encode, require
from featstore.toolkit.labelled import EvalSet, Labelled, check_validation, fit_estimator, that_count, with_validation
from featstore.toolkit.logits import LogitClassifier, Logits, logits_of, softmax

__all__ = ["TemperatureScaling", "fit_temperature"]


class TemperatureScaling(Delegating, LogitClassifier):
    """Divide a classifier's logits by one temperature, chosen for the lowest log-loss on a validation part.

    Guo et al., 2017, arXiv:1706.04599. Predicted classes stay the same. Where both apply, the result is that of
    scikit-learn's ``CalibratedClassifierCV(method="temperature")``; unlike it, multi-class decision values are never
    taken for probabilities because of their range.

    Parameters
    ----------
    estimator : classifier
        Fitted as a clone, and given the validation part if its ``fit`` takes an ``eval_set``. A ``FrozenEstimator``
        stays as it is: all images given to ``fit`` then only calibrate it.
    bounds : tuple of 2 floats, default=(1e-4, 1e4)
        The lowest and highest temperature. A validation part without an error asks for one near 0, which makes the
        next error infinitely costly: narrow the bounds for small ones.
    validation_fraction : float, default=0.1
        Share of images held out where ``fit`` is given no ``eval_set``: stratified, groups together. With fewer than
        four images (groups) of a class nothing is held out, and the temperature stays 1.
    random_state : int, RandomState or None
        Decides the hold-out.

    Attributes
    ----------
    estimator_ : classifier
    classes_ : ndarray of shape (n_classes,)
    temperature_ : float
        Above 1, the classifier was too sure.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        bounds: tuple[float, float] = (1e-4, 1e4),
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.bounds = bounds
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, eval_set: EvalSet | None = None, *, sample_weight: Any = None, groups: Any = None
    ) -> TemperatureScaling:
        """Fit the classifier, then its temperature.

        Parameters
        ----------
        X : Bags or array-like of shape (n_images, dim)
        y : array-like of shape (n_images,)
        eval_set : tuple of (X, y) or (X, y, sample_weight), optional
            Images for the temperature (and for the classifier's early stopping); never trained on.
        sample_weight : array-like of shape (n_images,), optional
            What each image counts, 0 or more, for the classifier and the temperature.
        groups : array-like of shape (n_images,), optional
            Images that stay together where some are held out; ``X.groups`` for bags.

        Returns
        -------
        self
        """
        low, high = _checked(self.bounds)
        samples = check_samples(self, X, reset=True)
        labels = check_labels(self, y, _num_samples(samples))
        if isinstance(self.estimator, FrozenEstimator):
            self.estimator_ = self.estimator
            validation: Labelled | None = that_count(samples, labels, sample_weight)
            if eval_set is not None:
                validation = check_validation(self, eval_set, self.estimator.classes_)
        else:
            training, validation = with_validation(self, samples, labels, eval_set, sample_weight, groups)
            self.estimator_ = fit_estimator(clone(self.estimator), training, validation)
        self.classes_ = self.estimator_.classes_
        self._adopt_features(self.estimator_)
        self.temperature_ = 1.0
        if validation is not None:
            logits, codes = logits_of(self.estimator_, validation.X), encode(np.asarray(validation.y), self.classes_)
            self.temperature_ = fit_temperature(logits, codes, (low, high), validation.sample_weight)
        return self

    def logits(self, X: Any) -> Logits:
        """Return calibrated logits of shape (n_images, n_classes)."""
        check_is_fitted(self)
        return logits_of(self.estimator_, check_samples(self, X, reset=False)) / self.temperature_

    def _wrapped(self) -> list[Any]:
        return [self.estimator]


def fit_temperature(
    logits: Logits,
    codes: NDArray[np.intp],
    bounds: tuple[float, float] = (1e-4, 1e4),
    sample_weight: NDArray[np.float64] | None = None,
) -> float:
    """Return the temperature within ``bounds`` at which the log-loss is lowest.

    The log-loss is convex in the inverse temperature, so its slope changes sign once.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
    codes : ndarray of shape (n,), int
        Positions of the true classes.
    bounds : tuple of 2 floats
    sample_weight : ndarray of shape (n,), optional

    Returns
    -------
    float
        1 where logits say nothing (all equal within each row).
    """
    centred = logits - np.take_along_axis(logits, codes[:, None], axis=1)
    if not centred.any():
        return 1.0

    def slope(log_inverse: float) -> float:
        slopes = (softmax(np.exp(log_inverse) * centred) * centred).sum(axis=1)
        return float(np.average(slopes, weights=sample_weight))

    low, high = -np.log(bounds[1]), -np.log(bounds[0])
    if slope(low) >= 0:
        return float(bounds[1])
    if slope(high) <= 0:
        return float(bounds[0])
    return float(np.exp(-brentq(slope, low, high, xtol=1e-14)))


def _checked(bounds: Any) -> tuple[float, float]:
    ok = isinstance(bounds, (tuple, list)) and len(bounds) == 2
    ok = ok and all(isinstance(bound, (int, float)) for bound in bounds) and 0 < bounds[0] < bounds[1] < np.inf
    require(ok, f"bounds is {bounds!r}", "two numbers, the first above 0 and below the second")
    return float(bounds[0]), float(bounds[1])
