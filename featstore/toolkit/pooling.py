"""From bags to image embeddings: a transformer for pipelines, and a head that also uses augmented repeats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from featstore.store.bags import Bags
from featstore.store.joined import JoinedBags
from featstore.toolkit.inputs import (
    Samples,
    as_bags,
    check_bags,
    check_finite,
    check_labels,
    check_samples,
    encode,
    require,
    require_classes,
)
from featstore.toolkit.labelled import (
    EvalSet,
    Labelled,
    fit_estimator,
    is_booster,
    of_two_classes,
    that_count,
    weights_of_classes,
    with_validation,
)
from featstore.toolkit.logits import LogitClassifier, Logits, logits_of

__all__ = ["MeanPool", "PooledHead"]

_AUTO_STOPS_ABOVE = 10_000


class MeanPool(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Mean embedding of each image over its blobs, from the clean repeat; an array passes unchanged.

    Of several encoders' bags (`join_bags`) it takes each one's mean, one after the other.

    Put it in front of any estimator that takes arrays, to use that on `Bags`. It needs no fitting. Groups end here:
    what comes after it and splits images itself does not know which belong together.
    """

    def fit(self, X: Any, y: Any = None) -> MeanPool:
        """Validate X; nothing is learned."""
        check_samples(self, X, reset=True)
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Return embeddings of shape (n_images, dim); float32 for bags."""
        samples = check_samples(self, X, reset=False)
        return check_finite(samples.means()) if isinstance(samples, Bags | JoinedBags) else samples

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class PooledHead(LogitClassifier):
    """Any scikit-learn classifier on image embeddings: the mean over an image's blobs, a training row for each repeat.

    Augmented repeats train; the clean repeat validates and predicts. A classifier that splits its rows itself (a
    search, calibration, stacking, early stopping on rows it holds out) gets clean rows alone: it would find repeats of
    one image on both sides. Labels reach the inner classifier as 0, 1, ..., so that those which insist on it
    (xgboost's) take strings too.

    Parameters
    ----------
    estimator : classifier
        Fitted as a clone. If its ``fit`` takes an ``eval_set`` (`XGBClassifier`, `LGBMClassifier`), it gets the
        validation part, and ``early_stopping_rounds`` works.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, passed on as ``sample_weight``; for classifiers that have no such parameter.
    validation_fraction : float, default=0.1
        Share of images held out where ``fit`` is given no ``eval_set`` and ``estimator`` can use one: stratified,
        groups together. With fewer than four images (groups) of a class nothing is held out, and an
        ``early_stopping_rounds`` is switched off.
    random_state : int, RandomState or None
        Decides the hold-out.

    Attributes
    ----------
    estimator_ : classifier
    classes_ : ndarray of shape (n_classes,)

    Notes
    -----
    In training an image counts once, however many repeats it has.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        class_weight: Any = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, eval_set: EvalSet | None = None, *, sample_weight: Any = None, groups: Any = None
    ) -> PooledHead:
        """Fit a clone of the inner classifier.

        Parameters
        ----------
        X : Bags or array-like of shape (n_images, dim)
        y : array-like of shape (n_images,)
        eval_set : tuple of (X, y) or (X, y, sample_weight), optional
            Images for the inner classifier's early stopping; never trained on.
        sample_weight : array-like of shape (n_images,), optional
            What each image counts, 0 or more; passed on.
        groups : array-like of shape (n_images,), optional
            Images that stay together where some are held out; ``X.groups`` for bags.

        Returns
        -------
        self
        """
        samples = check_samples(self, X, reset=True)
        labels = check_labels(self, y, len(samples))
        estimator = clone(self.estimator)
        _require_that_it_can_stop(estimator)
        if has_fit_parameter(estimator, "eval_set") and (eval_set is not None or _may_stop_early(estimator)):
            training, validation = with_validation(self, samples, labels, eval_set, sample_weight, groups)
        else:
            training, validation = of_two_classes(that_count(samples, labels, sample_weight, groups)), None
        self.classes_ = np.unique(training.y)
        of_class = weights_of_classes(self.class_weight, self.classes_, training)
        if validation is None and is_booster(estimator, "xgboost"):
            _never_stop_early(estimator)
        self.estimator_ = fit_estimator(
            estimator,
            self._rows(training, "clean" if _splits_rows(estimator, samples) else "all", of_class),
            None if validation is None else self._rows(validation, "clean", of_class),
        )
        require_classes(self.estimator_, np.arange(len(self.classes_)))
        return self

    def logits(self, X: Any) -> Logits:
        """Return logits of shape (n_images, n_classes), from clean embeddings; see `logits_of`."""
        check_is_fitted(self)
        return logits_of(self.estimator_, self._table(check_bags(self, X, reset=False).means()))

    def _table(self, means: NDArray[np.float32]) -> NDArray[Any]:
        """Boosters compute on float32; most others in the type they are given, where float64 is the safer one."""
        return check_finite(means) if is_booster(self.estimator) else check_finite(means).astype(np.float64)

    def _rows(self, images: Labelled, repeats: str, of_class: NDArray[np.float64]) -> Labelled:
        """Return image embeddings (of each repeat, or the clean one alone), class codes, weights if any, and groups."""
        bags, codes = as_bags(images.X), encode(images.y, self.classes_)
        rows = bags.repeat_means() if repeats == "all" else None
        of_row = np.arange(len(bags)) if rows is None else rows.image
        counts = np.ones(len(of_row)) if images.sample_weight is None else images.sample_weight[of_row]
        shares = (of_class[codes] / np.bincount(of_row))[of_row]
        weights = counts * shares / np.average(shares, weights=counts)
        return Labelled(
            self._table(bags.means() if rows is None else rows.embeddings),
            codes[of_row],
            None if np.allclose(weights, 1, rtol=0, atol=1e-9) else weights,
            (bags.groups if images.groups is None else images.groups)[of_row],
        )


def _may_stop_early(estimator: Any) -> bool:
    """Tell whether a held-out part could be of use; other boosters than xgboost's are told to stop elsewhere."""
    if not is_booster(estimator, "xgboost"):
        return True
    return estimator.early_stopping_rounds is not None or bool(estimator.callbacks)


def _never_stop_early(booster: Any) -> None:
    """Let all rounds of XGBoost run: there is nothing to judge them by."""
    from xgboost.callback import EarlyStopping

    others = [each for each in booster.callbacks or [] if not isinstance(each, EarlyStopping)]
    booster.set_params(early_stopping_rounds=None, callbacks=others or None)


def _require_that_it_can_stop(estimator: Any) -> None:
    """Refuse an XGBoost in a pipeline that is to stop early: no pipeline passes a validation part on."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else None
    require(
        last is None or not is_booster(last, "xgboost") or not _may_stop_early(last),
        f"{type(last).__name__} is to stop early, inside a Pipeline",
        "a classifier that gets the validation part",
        "Take it out of the pipeline (trees need no scaling), or set early_stopping_rounds=None.",
    )


def _splits_rows(estimator: Any, samples: Samples) -> bool:
    """Tell whether the classifier, or one inside it, holds out some of its rows or cross-validates on them."""
    params = estimator.get_params()
    for path, value in params.items():
        prefix, _, name = path.rpartition("__")
        if name == "validation_fraction":
            stops = next((key for key in ("early_stopping", "n_iter_no_change") if _at(prefix, key) in params), None)
            value = stops is None or params[_at(prefix, stops)]
            if value == "auto":  # scikit-learn's histogram boosting then stops early on more rows than these
                value = len(samples) * _repeats(samples) > _AUTO_STOPS_ABOVE
            if value:
                return True
        elif name in {"cv", "n_splits"}:
            return True
    return False


def _at(prefix: str, name: str) -> str:
    return f"{prefix}__{name}" if prefix else name


def _repeats(samples: Samples) -> int:
    return len(samples.repeats) if isinstance(samples, Bags | JoinedBags) else 1
