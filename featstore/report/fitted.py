"""What a model said out of fold, tied to the images of a store: a model file has no names of images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import FeatstoreError, FingerprintMismatchError, ModelError
from featstore.evaluate import Evaluation
from featstore.store import Bags, ImageRow, Store, open_store
from featstore.toolkit.ensemble import scores_of
from featstore.toolkit.logits import logits_of, softmax
from featstore.toolkit.temperature import TemperatureScaling

__all__ = ["OutOfFold", "member_of", "out_of_fold", "require_model_of"]

Probabilities = NDArray[np.float64]

_NEAR = 1e-3
"""A member predicts its fold again to some digits, on whatever processor; of other images it says something else."""


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Each training image as the one member of the ensemble sees it that was not trained on it.

    Attributes
    ----------
    bags : Bags
        The training images, clean crops alone.
    codes : ndarray of shape (n_images,), int
        Position of each image's class.
    folds : ndarray of shape (n_images,), int
    probabilities : ndarray of shape (n_images, n_classes)
    uncalibrated : ndarray of shape (n_images, n_classes), or None
        The same without temperatures; None where the model has none.
    classes : ndarray of shape (n_classes,), str
    version : int
        Of the store, as the model was fitted on it.
    rows : mapping from key to ImageRow
        All images of that version.
    """

    bags: Bags
    codes: NDArray[np.intp]
    folds: NDArray[np.intp]
    probabilities: Probabilities
    uncalibrated: Probabilities | None
    classes: NDArray[np.str_]
    version: int
    rows: Mapping[str, ImageRow]

    @property
    def images(self) -> NDArray[np.str_]:
        """Keys, of shape (n_images,)."""
        return self.bags.images

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Position of the class with the highest probability."""
        predicted: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which images are predicted as another class than their own."""
        wrong: NDArray[np.bool_] = self.predicted != self.codes
        return wrong

    def scored(self) -> Evaluation:
        """Return the predictions as something that tells figures and intervals; figures of selection, all of them."""
        unknown = np.full((1, int(self.folds.max()) + 1), np.nan)
        return Evaluation(
            self.images, self.bags.groups, self.classes, self.codes, self.folds[None], self.probabilities[None], unknown
        )


def require_model_of(model: Any, store: Store) -> None:
    """Refuse a model that was not fitted on embeddings of a store's recipe, and nothing else.

    Raises
    ------
    ModelError
        If it is no ensemble that fit wrote, or one of several encoders.
    FingerprintMismatchError
        If it was fitted on other embeddings.
    """
    if not hasattr(model, "oof_probabilities_") or not hasattr(model, "provenance_"):
        raise ModelError(
            f"a {type(model).__name__} has no folds to report", expected="a model that featstore fit wrote"
        )
    fitted = str(model.provenance_.get("fingerprint", ""))
    if "+" in fitted:
        raise ModelError(
            f"a model that was fitted on the embeddings of {fitted.count('+') + 1} encoders",
            expected="one of one encoder",
            remedy="Fit one on this store: featstore fit.",
        )
    if fitted != store.fingerprint:
        raise FingerprintMismatchError(
            f"{store.path}: the embeddings have fingerprint {store.fingerprint}",
            expected=f"{fitted or 'none'}, on which the model was fitted",
            remedy="Name the store that the model was fitted on, or fit again on this one.",
        )


def out_of_fold(model: Any, store: Store) -> OutOfFold:
    """Tie a model's out-of-fold predictions to images: its members must say the same of their folds again.

    Parameters
    ----------
    model : FoldEnsemble
    store : Store
        Of the model's recipe; the version that the model was fitted on is taken as long as it is there.

    Raises
    ------
    ModelError
        If these are not the images and labels that the model was fitted on.
    """
    for fitted, bags in _candidates(model, store):
        if _is_alike(model, bags) and (found := _tied(model, bags, fitted)) is not None:
            return found
    raise ModelError(
        f"{store.path} has not the training images and labels that the model was fitted on",
        expected=f"{len(model.folds_)} labelled training images of the same classes",
        remedy="Labels of fit --labels can be put into the store: featstore store label. Or fit again.",
    )


def member_of(model: Any, fold: int) -> Any:
    """Return an ensemble of one: the member that was not trained on a fold."""
    alone = copy.copy(model)
    alone.estimators_ = [model.estimators_[fold]]
    return alone


def _candidates(model: Any, store: Store) -> Iterator[tuple[Store, Bags]]:
    """Collect training images of the version that the model names, then of the one that is open."""
    named = model.provenance_.get("version")
    if isinstance(named, int) and named != store.version:
        with suppress(FeatstoreError):  # vacuumed away, or packed: the open one may have the same images
            fitted = open_store(store.path, version=named)
            yield fitted, fitted.bags("train", repeats=0)
    yield store, store.bags("train", repeats=0)


def _is_alike(model: Any, bags: Bags) -> bool:
    """Tell whether the labels are those that the model's own out-of-fold figures were computed from."""
    if len(bags) != len(model.folds_) or set(bags.labels.tolist()) != {str(name) for name in model.classes_}:
        return False
    predicted = model.classes_[model.oof_probabilities_.argmax(axis=1)].astype(np.str_)
    return np.allclose(scores_of(bags.labels, predicted), (model.oof_macro_f1_, model.oof_accuracy_), atol=1e-9)


def _tied(model: Any, bags: Bags, store: Store) -> OutOfFold | None:
    plain = np.zeros_like(model.oof_probabilities_)
    for fold, member in enumerate(model.estimators_):
        left_out = np.flatnonzero(model.folds_ == fold)
        if not len(left_out):
            continue
        part = bags[left_out]
        if not np.allclose(member.predict_proba(part), model.oof_probabilities_[left_out], atol=_NEAR):
            return None
        plain[left_out] = softmax(logits_of(_without_temperatures(member), part))
    classes = model.classes_.astype(np.str_)
    codes = np.searchsorted(classes, bags.labels)
    calibrated = any(score.get("temperatures") for score in model.fold_scores_)
    oof = np.asarray(model.oof_probabilities_, dtype=np.float64)
    return OutOfFold(
        bags, codes, model.folds_, oof, plain if calibrated else None, classes, store.version, store.images
    )


def _without_temperatures(estimator: Any) -> Any:
    """Return a classifier that says what this one does before its logits are divided by temperatures."""
    if isinstance(estimator, TemperatureScaling):
        return _without_temperatures(estimator.estimator_)
    bare = copy.copy(estimator)
    if hasattr(estimator, "estimators_") and hasattr(estimator, "weights_"):
        bare.estimators_ = [_without_temperatures(head) for head in estimator.estimators_]
    return bare
