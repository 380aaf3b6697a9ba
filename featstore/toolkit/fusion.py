"""Fusion: one classifier from several, by a weighted sum of their logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import _num_samples, check_is_fitted

from featstore.errors import SettingError
from featstore.toolkit.delegating import Delegating
from featstore.toolkit.inputs import Samples, check_labels, check_samples, encode, require_classes
from featstore.toolkit.labelled import EvalSet, fit_estimator, with_validation
from featstore.toolkit.logits import LogitClassifier, Logits, logits_of
from featstore.toolkit.simplex import best_weights

__all__ = ["LogitFusion"]


class LogitFusion(Delegating, LogitClassifier, _BaseComposition):
    """Fuse the logits of several classifiers linearly, with weights that the validation part tells.

    Logits of different classifiers mean the same only when calibrated: wrap each in `TemperatureScaling`.

    Parameters
    ----------
    estimators : list of (str, classifier)
        Fitted as clones, each on the same images, and given the validation part if their ``fit`` takes an
        ``eval_set``.
    validation_fraction : float, default=0.1
        Share of images held out where ``fit`` is given no ``eval_set``: stratified, groups together. With fewer than
        four images (groups) of a class nothing is held out, and the weights are equal.
    random_state : int, RandomState or None
        Decides the hold-out.

    Attributes
    ----------
    estimators_ : list of classifiers
    classes_ : ndarray of shape (n_classes,)
    weights_ : dict of str to float
        A weight for each name, from 0 to 1; they sum to 1. On the plateau of the best macro-F1 those of the lowest
        log-loss; equal ones where that is not evidently lower: `featstore.toolkit.simplex.best_weights`.
    """

    def __init__(
        self,
        estimators: list[tuple[str, Any]],
        *,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.estimators = estimators
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, eval_set: EvalSet | None = None, *, sample_weight: Any = None, groups: Any = None
    ) -> LogitFusion:
        """Fit the classifiers, then their weights.

        Parameters
        ----------
        X : Bags or array-like of shape (n_images, dim)
        y : array-like of shape (n_images,)
        eval_set : tuple of (X, y) or (X, y, sample_weight), optional
            Images for the weights (and for whatever the classifiers choose on them); never trained on.
        sample_weight : array-like of shape (n_images,), optional
            What each image counts, 0 or more, for the classifiers and the fusion.
        groups : array-like of shape (n_images,), optional
            Images that stay together where some are held out; ``X.groups`` for bags.

        Returns
        -------
        self
        """
        names = self._names()
        samples = check_samples(self, X, reset=True)
        labels = check_labels(self, y, _num_samples(samples))
        training, validation = with_validation(self, samples, labels, eval_set, sample_weight, groups)
        self.estimators_ = [fit_estimator(clone(estimator), training, validation) for _, estimator in self.estimators]
        self.classes_ = np.unique(training.y)
        for estimator in self.estimators_:
            require_classes(estimator, self.classes_)
        self._adopt_features(self.estimators_[0])
        weights = np.full(len(names), 1 / len(names))
        if validation is not None:
            codes = encode(validation.y, self.classes_)
            weights = best_weights(self._stacked(validation.X), codes, validation.sample_weight)
        self.weights_ = dict(zip(names, weights.tolist(), strict=True))
        return self

    def logits(self, X: Any) -> Logits:
        """Return fused logits of shape (n_images, n_classes)."""
        check_is_fitted(self)
        weights = np.array(list(self.weights_.values()))
        fused: Logits = np.tensordot(weights, self._stacked(check_samples(self, X, reset=False)), axes=1)
        return fused

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with ``deep`` also those of the classifiers, as ``name__parameter``."""
        params: dict[str, Any] = self._get_params("estimators", deep=deep)
        return params

    def set_params(self, **params: Any) -> LogitFusion:
        """Set parameters, those of a classifier as ``name__parameter``, or replace a whole classifier by its name."""
        self._set_params("estimators", **params)
        return self

    def _stacked(self, X: Samples) -> Logits:
        return np.stack([logits_of(estimator, X) for estimator in self.estimators_])

    def _wrapped(self) -> list[Any]:
        return [estimator for _, estimator in self._pairs()]

    def _pairs(self) -> list[tuple[str, Any]]:
        """Return the classifiers with their names; none if that is not what ``estimators`` holds."""
        pairs = self.estimators
        well_formed = isinstance(pairs, (list, tuple)) and all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
        )
        return list(pairs) if well_formed else []

    def _names(self) -> list[str]:
        names = [name for name, _ in self._pairs()]
        taken = set(super().get_params(deep=False))
        if not names or len(set(names)) < len(names) or any("__" in name or name in taken for name in names):
            raise SettingError(
                f"estimators is {self.estimators!r}",
                expected="a list of (name, classifier), the names different, without '__', and no parameter's name",
            )
        return names
