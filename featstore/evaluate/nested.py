"""Nested cross-validation: a score from images that had no say in anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from featstore.errors import LabelError
from featstore.evaluate.estimate import Evaluation
from featstore.store.bags import Bags
from featstore.store.joined import JoinedBags
from featstore.toolkit.inputs import (
    check_groups,
    check_labels,
    encode,
    is_whole,
    order_of_names,
    require,
    require_probabilities,
)
from featstore.toolkit.labelled import takes_groups
from featstore.toolkit.logits import probabilities_of
from featstore.toolkit.seeds import seeded
from featstore.toolkit.splits import assign_folds
from featstore.toolkit.threads import one_core, side_by_side

__all__ = ["Candidate", "Done", "cross_validate_nested", "evaluate"]


@dataclass(frozen=True)
class Candidate:
    """A model and the images to judge it on.

    Attributes
    ----------
    name : str
    model : classifier
        With ``predict_proba``; it may choose whatever it likes on the images that it is given. Fitted as clones.
    X : Bags, JoinedBags or array-like of shape (n_images, dim)
    y : array-like of shape (n_images,), optional
        ``X.labels`` for bags.
    groups : array-like of shape (n_images,), optional
        ``X.groups`` for bags.
    """

    name: str
    model: Any
    X: Any
    y: Any = None
    groups: Any = None


@dataclass(frozen=True)
class Done:
    """How far a nested cross-validation is.

    Attributes
    ----------
    fits, of : int
        Outer folds that are through, and all of them.
    """

    fits: int
    of: int


def evaluate(
    model: Any,
    X: Any,
    y: Any = None,
    groups: Any = None,
    *,
    n_splits: int = 10,
    n_seeds: int = 1,
    random_state: int = 0,
    n_jobs: int | None = None,
    callback: Callable[[Done], object] | None = None,
) -> Evaluation:
    """Estimate how well a model does on images that it has not seen.

    Nested cross-validation (Varma and Simon, 2006, doi:10.1186/1471-2105-7-91): in each outer fold the model is fitted
    anew, with everything that it chooses (early stopping, temperatures, fusion, its own folds), on the other folds'
    images alone, and predicts the fold's. So each image is predicted once a seed, by a model that has not seen it.
    Folds are stratified by class; a group stays in one.

    A model is fitted on a share of ``1 - 1 / n_splits`` of the images here, and on all of them in use: the estimate is
    somewhat pessimistic.

    Parameters
    ----------
    model : classifier
        With ``predict_proba``. Fitted as clones; every ``random_state`` inside it gets a seed of its own.
    X : Bags, JoinedBags or array-like of shape (n_images, dim)
    y : array-like of shape (n_images,), optional
        ``X.labels`` for bags.
    groups : array-like of shape (n_images,), optional
        ``X.groups`` for bags.
    n_splits : int, default=10
        Outer folds.
    n_seeds : int, default=1
        Repetitions with other folds and other seeds of the model.
    random_state : int, default=0
        Decides all of these; the same for other models makes them comparable image by image.
    n_jobs : int or None
        Outer folds at a time; no figure depends on it.
    callback : callable, optional
        Called in this process with a `Done` after each outer fold.

    Returns
    -------
    Evaluation

    Raises
    ------
    LabelError
        If a class has fewer images (groups) than there are outer folds, or than the model needs.
    """
    (evaluation,) = cross_validate_nested(
        [Candidate("", model, X, y, groups)],
        n_splits=n_splits,
        n_seeds=n_seeds,
        random_state=random_state,
        n_jobs=n_jobs,
        callback=callback,
    )
    return evaluation


def cross_validate_nested(
    candidates: Sequence[Candidate],
    *,
    n_splits: int = 10,
    n_seeds: int = 1,
    random_state: int = 0,
    n_jobs: int | None = None,
    callback: Callable[[Done], object] | None = None,
) -> list[Evaluation]:
    """Evaluate several candidates as `evaluate` does one, their outer folds side by side.

    Candidates with the same labels and groups have the same folds; bags are taken in the order of their images' names.
    """
    require(is_whole(n_splits, 2), f"n_splits is {n_splits!r}", "a whole number of folds, 2 or more")
    require(is_whole(n_seeds), f"n_seeds is {n_seeds!r}", "a whole number, 1 or more")
    seedable = is_whole(random_state, 0) and random_state < 2**32
    require(seedable, f"random_state is {random_state!r}", "a whole number from 0 and below 2**32")
    tasks, plans = [], [_Plan(candidate, n_splits, n_seeds, random_state) for candidate in candidates]
    for plan in plans:
        tasks += plan.tasks()
    results = side_by_side(tasks, n_jobs)
    fits = 0
    for plan in plans:
        for place in plan.places:
            plan.note(*place, *next(results))
            fits += 1
            if callback is not None:
                callback(Done(fits, len(tasks)))
    return [plan.evaluation() for plan in plans]


class _Plan:
    """The outer folds of one candidate, for each seed, and what comes of them."""

    def __init__(self, candidate: Candidate, n_splits: int, n_seeds: int, random_state: int) -> None:
        self._model, self._X = clone(candidate.model), candidate.X
        require_probabilities(self._model)
        labels = self._X.labels if candidate.y is None and isinstance(self._X, Bags | JoinedBags) else candidate.y
        self._y = check_labels(self._model, labels, _num_samples(self._X))
        self._groups = check_groups(self._X, candidate.groups, len(self._y))
        if isinstance(self._X, Bags | JoinedBags):  # whose groups all that is inside the model goes by
            self._X = replace(self._X, groups=np.asarray(self._groups).astype(np.str_))
        self._back: Any = slice(None)
        if (order := order_of_names(self._X)) is not None:
            self._X, self._y, self._groups = self._X[order], self._y[order], self._groups[order]
            self._back = np.argsort(order)
        self._classes = np.unique(self._y)
        self.places = [(seed, fold) for seed in range(n_seeds) for fold in range(n_splits)]
        self._random = [np.random.RandomState([random_state, seed]) for seed in range(n_seeds)]
        self._folds = np.stack([assign_folds(self._y, self._groups, n_splits, random) for random in self._random])
        self._probabilities = np.zeros((n_seeds, len(self._y), len(self._classes)))
        self._selection = np.full((n_seeds, n_splits), np.nan)

    def tasks(self) -> list[Any]:
        return [
            delayed(_fit_outer)(
                seeded(self._model, self._random[seed]), self._X, self._y, self._groups, fold, self._folds[seed] == fold
            )
            for seed, fold in self.places
        ]

    def note(self, seed: int, fold: int, probabilities: NDArray[np.float64], selection: float) -> None:
        self._probabilities[seed, self._folds[seed] == fold] = probabilities
        self._selection[seed, fold] = selection

    def evaluation(self) -> Evaluation:
        images = self._X.images if isinstance(self._X, Bags | JoinedBags) else np.arange(len(self._y)).astype(np.str_)
        back = self._back
        return Evaluation(
            images=images[back],
            groups=self._groups[back],
            classes=self._classes,
            codes=encode(self._y, self._classes)[back],
            folds=self._folds[:, back],
            probabilities=self._probabilities[:, back],
            selection_macro_f1=self._selection,
        )


def _fit_outer(
    model: Any, X: Any, y: NDArray[Any], groups: NDArray[Any], fold: int, held: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Fit on all but the images held out, on one core, and predict these.

    Returns
    -------
    probabilities : ndarray of shape (n_held, n_classes)
    selection_macro_f1 : float
        The model's own out-of-fold figure, where it has one; else NaN.
    """
    training = np.flatnonzero(~held)
    together = {"groups": groups[training]} if takes_groups(model, y) else {}
    try:
        with one_core():
            model.fit(_safe_indexing(X, training), y[training], **together)
            probabilities = probabilities_of(model, _safe_indexing(X, np.flatnonzero(held)))
    except LabelError as error:
        raise LabelError(
            f"without outer fold {fold}, {error.found}",
            expected=error.expected,
            remedy="Use fewer inner folds, or more outer ones, which leave more to train on; or leave the class out.",
        ) from error
    return probabilities[:, np.argsort(model.classes_)], float(getattr(model, "oof_macro_f1_", np.nan))
