"""The same model once a fold, predictions averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from joblib import delayed
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score, f1_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples, check_is_fitted

from featstore.errors import FingerprintMismatchError, LabelError
from featstore.store.bags import Bags
from featstore.store.joined import JoinedBags
from featstore.toolkit.delegating import Delegating
from featstore.toolkit.fusion import LogitFusion
from featstore.toolkit.inputs import (
    check_groups,
    check_labels,
    check_samples,
    is_whole,
    order_of_names,
    require,
    require_probabilities,
)
from featstore.toolkit.labelled import Labelled, fit_estimator, of_two_classes, that_count
from featstore.toolkit.logits import probabilities_of
from featstore.toolkit.seeds import seeded
from featstore.toolkit.splits import assign_folds
from featstore.toolkit.temperature import TemperatureScaling
from featstore.toolkit.threads import one_core, side_by_side

__all__ = ["FoldEnsemble", "FoldScore", "scores_of"]

FoldScore: TypeAlias = dict[str, Any]


class FoldEnsemble(Delegating, ClassifierMixin, BaseEstimator):
    """Fit a classifier once for each fold left out, and average the probabilities.

    Folds are stratified by class, with groups kept together. A fold's part left out is given to the classifier as
    ``eval_set`` if its ``fit`` takes one: it may drive early stopping, temperature and fusion. So ``fold_scores_`` and
    the out-of-fold figures are those of selection: somewhat optimistic. An honest estimate needs images that no fold
    has seen, as in nested cross-validation.

    Parameters
    ----------
    estimator : classifier
        With ``predict_proba``. Fitted as clones.
    n_splits : int, default=10
    n_jobs : int or None
        Folds fitted at a time, in processes of their own that share the embeddings. It changes no byte of the result;
        nor does another backend of joblib's, as in ``featstore.cluster.spread_over``.
    random_state : int, RandomState or None
        Decides the folds, and sets every ``random_state`` inside the classifier, another one for each fold. With the
        same int the same bags give the same classifiers, byte for byte, whatever their order.

    Attributes
    ----------
    estimators_ : list of classifiers
        One a fold.
    classes_ : ndarray of shape (n_classes,)
    class_prior_ : ndarray of shape (n_classes,)
        Share of each class among the training images.
    folds_ : ndarray of shape (n_images,), int
        Fold whose left-out part an image belongs to, in the order of X.
    oof_probabilities_ : ndarray of shape (n_images, n_classes)
        Of each image by the one classifier that was not trained on it, in the order of X.
    fold_scores_ : list of dict
        ``fold``, ``val_macro_f1``, ``val_accuracy``, and by name ``temperatures`` and ``weights`` where there are.
    oof_macro_f1_, oof_accuracy_ : float
        Of the out-of-fold predictions.
    provenance_ : dict
        Recipe fingerprint and version of the store that X came from; empty for arrays.
    """

    def __init__(
        self,
        estimator: Any,
        n_splits: int = 10,
        *,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_splits = n_splits
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        groups: Any = None,
        callback: Callable[[FoldScore], object] | None = None,
        *,
        sample_weight: Any = None,
    ) -> FoldEnsemble:
        """Fit one classifier a fold.

        Parameters
        ----------
        X : Bags or array-like of shape (n_images, dim)
        y : array-like of shape (n_images,)
        groups : array-like of shape (n_images,), optional
            Images that must stay together; ``X.groups`` for bags.
        callback : callable, optional
            Called in this process with each fold's score as soon as it is known, in the order of the folds.
        sample_weight : array-like of shape (n_images,), optional
            What each image counts for the classifiers and their choices, more than 0. Folds are drawn, and scores
            counted, without it.

        Returns
        -------
        self

        Raises
        ------
        LabelError
            If a class has fewer images (groups) than there are folds, or an image weighs 0.
        """
        self._check_settings()
        samples = check_samples(self, X, reset=True)
        labels = check_labels(self, y, _num_samples(samples))
        images = that_count(samples, labels, sample_weight)
        if len(images.y) < len(labels):
            raise LabelError(
                f"{len(labels) - len(images.y)} of {len(labels)} images have a sample_weight of 0",
                expected="weights above 0, since folds are drawn so that each has all classes",
                remedy="Leave these images out: keep = sample_weight > 0; fit(X[keep], y[keep], ...).",
            )
        self.classes_, counts = np.unique(of_two_classes(images).y, return_counts=True)
        random_state = check_random_state(self.random_state)
        together = check_groups(samples, groups, len(labels))
        if (order := order_of_names(samples)) is not None:
            images, together = images.part(order), together[order]
        folds = assign_folds(images.y, together, self.n_splits, random_state)
        self.class_prior_ = counts / counts.sum()
        self.provenance_ = dict(samples.provenance) if isinstance(samples, Bags | JoinedBags) else {}
        out_of_fold = self._fit_folds(images, folds, random_state, callback)
        self._adopt_features(self.estimators_[0])
        back = slice(None) if order is None else np.argsort(order)
        self.folds_, self.oof_probabilities_ = folds[back], out_of_fold[back]
        predicted = self.classes_[self.oof_probabilities_.argmax(axis=1)]
        self.oof_macro_f1_, self.oof_accuracy_ = scores_of(labels, predicted)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n_images, n_classes): the mean over the folds' classifiers.

        Raises
        ------
        FingerprintMismatchError
            If X comes from a store of another recipe than the one trained on.
        """
        check_is_fitted(self)
        samples = check_samples(self, X, reset=False)
        if isinstance(samples, Bags | JoinedBags):
            self._check_fingerprint(samples.provenance)
        total = np.zeros((_num_samples(samples), len(self.classes_)))
        with one_core():
            for estimator in self.estimators_:
                total += probabilities_of(estimator, samples)
        return total / len(self.estimators_)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class with the highest mean probability, of shape (n_images,)."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def _wrapped(self) -> list[Any]:
        return [self.estimator]

    def _fit_folds(
        self,
        images: Labelled,
        folds: NDArray[np.intp],
        random_state: np.random.RandomState,
        callback: Callable[[FoldScore], object] | None,
    ) -> NDArray[np.float64]:
        """Fit, and return the out-of-fold probabilities."""
        tasks = [
            delayed(_fit_fold)(seeded(self.estimator, random_state), images, folds == fold)
            for fold in range(self.n_splits)
        ]
        self.estimators_, self.fold_scores_ = [], []
        out_of_fold = np.zeros((len(images.y), len(self.classes_)))
        for fold, (estimator, probabilities) in enumerate(side_by_side(tasks, self.n_jobs)):
            left_out = folds == fold
            macro_f1, accuracy = scores_of(images.y[left_out], self.classes_[probabilities.argmax(axis=1)])
            temperatures, weights = _choices(estimator)
            score = {"fold": fold, "val_macro_f1": macro_f1, "val_accuracy": accuracy}
            self.fold_scores_.append({**score, "temperatures": temperatures, "weights": weights})
            out_of_fold[left_out] = probabilities
            self.estimators_.append(estimator)
            if callback is not None:
                callback(dict(self.fold_scores_[-1]))
        return out_of_fold

    def _check_settings(self) -> None:
        require(is_whole(self.n_splits, 2), f"n_splits is {self.n_splits!r}", "a whole number of folds, 2 or more")
        require_probabilities(self.estimator)

    def _check_fingerprint(self, provenance: Mapping[str, Any]) -> None:
        ours, theirs = self.provenance_.get("fingerprint"), provenance.get("fingerprint")
        if ours and theirs and ours != theirs:
            raise FingerprintMismatchError(
                f"the embeddings have fingerprint {theirs}",
                expected=f"{ours}, on which the model was fitted",
                remedy="Predict on a store of the same recipe, or fit again on this one.",
            )


def _fit_fold(estimator: Any, images: Labelled, left_out: NDArray[np.bool_]) -> tuple[Any, NDArray[Any]]:
    """Fit on one core whatever the machine, so that sums are in one order; predictions do the same."""
    validation = images.part(left_out)
    with one_core():
        fit_estimator(estimator, images.part(~left_out), validation)
        return estimator, probabilities_of(estimator, validation.X)


def _choices(estimator: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Return the temperatures and the fusion weights inside a fitted classifier, by name."""
    if isinstance(estimator, TemperatureScaling):
        return {type(estimator.estimator_).__name__.lower(): estimator.temperature_}, {}
    if not isinstance(estimator, LogitFusion):
        return {}, {}
    heads = zip(estimator.weights_, estimator.estimators_, strict=True)
    return {name: head.temperature_ for name, head in heads if isinstance(head, TemperatureScaling)}, dict(
        estimator.weights_
    )


def scores_of(y: NDArray[Any], predicted: NDArray[Any]) -> tuple[float, float]:
    """Return macro-F1 and accuracy of predicted classes."""
    return float(f1_score(y, predicted, average="macro", zero_division=0.0)), float(accuracy_score(y, predicted))
