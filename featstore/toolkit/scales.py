"""Scales of crops: an image's embedding from some of them, and heads on some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from featstore.canonical import different_wholes
from featstore.store.bags import Bags
from featstore.toolkit.inputs import are_weights, as_bags, check_finite, check_labels, check_samples, require
from featstore.toolkit.labelled import EvalSet, Labelled, fit_estimator
from featstore.toolkit.logits import LogitClassifier, Logits, logits_of

__all__ = ["OnScales", "ScalePool", "require_scales", "scales_fit"]

_HOW = ("pool", "concatenate")


def scales_fit(scales: Any, how: Any, *, none: bool = False) -> bool:
    """Tell whether ``how`` is a way to use scales, and ``scales`` some: different whole numbers, or None if it may."""
    return isinstance(how, str) and how in _HOW and ((none and scales is None) or bool(different_wholes(scales)))


def require_scales(scales: Any, how: Any, *, none: bool = False) -> None:
    """Raise `SettingError` unless they fit (`scales_fit`)."""
    require(scales_fit(None, how, none=True), f"how is {how!r}", "'pool' or 'concatenate'")
    expected = "different scales, such as (1, 2); 0 for tiles"
    require(scales_fit(scales, how, none=none), f"scales is {scales!r}", expected)


class ScalePool(TransformerMixin, BaseEstimator):
    """Embedding of each image from its clean crops at several scales: the mean at each, averaged or side by side.

    Unlike `MeanPool`, which gives every crop the same weight, it gives every scale its own, however many crops that
    has: blobs and their many tiles count alike by default.

    Parameters
    ----------
    scales : tuple of int, optional
        1 for blobs, 2 and more for squares so many times as wide around them, 0 for tiles; all by default.
    how : {"pool", "concatenate"}, default="pool"
        Whether the scales' means are averaged, or put one after the other.
    weights : tuple of float, optional
        Of each scale, in the order of ``scales_``: shares of the average, or factors of what is put side by side. Alike
        by default.

    Attributes
    ----------
    scales_ : tuple of int
        Those that are used.
    """

    def __init__(self, scales: Any = None, *, how: str = "pool", weights: Any = None) -> None:
        self.scales = scales
        self.how = how
        self.weights = weights

    def fit(self, X: Any, y: Any = None) -> ScalePool:
        """Validate X, and note which scales it has."""
        require_scales(self.scales, self.how, none=True)
        bags = as_bags(check_samples(self, X, reset=True))
        self.scales_ = different_wholes(bags.scales if self.scales is None else self.scales)
        ok = self.weights is None or are_weights(self.weights, len(self.scales_))
        require(ok, f"weights is {self.weights!r}", f"{len(self.scales_)} numbers, 0 or more: one for each scale")
        bags.at_scales(self.scales_)
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Return embeddings of shape (n_images, dim), or (n_images, dim * n_scales) side by side; float32."""
        check_is_fitted(self)
        bags = as_bags(check_samples(self, X, reset=False))
        means = [check_finite(bags.at_scales([scale]).means()) for scale in self.scales_]
        weights = self._weights()
        if self.how == "concatenate":
            return np.concatenate([np.float32(w) * mean for w, mean in zip(weights, means, strict=True)], axis=1)
        return np.average(means, axis=0, weights=weights).astype(np.float32)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # float32, which is what embeddings are
        return tags

    def _weights(self) -> tuple[Any, ...]:
        return (1.0,) * len(self.scales_) if self.weights is None else tuple(self.weights)


class OnScales(LogitClassifier):
    """Fit a head on the crops of some scales.

    Parameters
    ----------
    estimator : classifier
        One that takes `Bags`: put `PooledHead` around others. Fitted as a clone.
    scales : tuple of int, default=(1,)
        1 for blobs, 2 and more for squares so many times as wide around them, 0 for tiles.
    how : {"pool", "concatenate"}, default="pool"
        Whether crops of all the scales are instances of one bag, or each blob is one instance, with its embeddings at
        the scales one after the other.

    Attributes
    ----------
    estimator_ : classifier
    classes_ : ndarray of shape (n_classes,)
    """

    def __init__(self, estimator: Any, scales: Any = (1,), *, how: str = "pool") -> None:
        self.estimator = estimator
        self.scales = scales
        self.how = how

    def fit(
        self, X: Any, y: Any, eval_set: EvalSet | None = None, *, sample_weight: Any = None, groups: Any = None
    ) -> OnScales:
        """Fit a clone of the head.

        Parameters
        ----------
        X : Bags or array-like of shape (n_images, dim)
        y : array-like of shape (n_images,)
        eval_set : tuple of (X, y) or (X, y, sample_weight), optional
            Images for the head's choices; never trained on.
        sample_weight : array-like of shape (n_images,), optional
            What each image counts, 0 or more; passed on.
        groups : array-like of shape (n_images,), optional
            Images that stay together where some are held out; ``X.groups`` for bags.

        Returns
        -------
        self

        Raises
        ------
        SettingError
            If X has none of these scales.
        """
        require_scales(self.scales, self.how)
        samples = check_samples(self, X, reset=True)
        labels = check_labels(self, y, len(samples))
        training = Labelled(self._seen(samples), labels, sample_weight, groups)
        validation = None
        if eval_set is not None:
            seen = self._seen(check_samples(self, eval_set[0], reset=False))
            validation = Labelled(seen, np.asarray(eval_set[1]), *eval_set[2:])
        self.estimator_ = fit_estimator(clone(self.estimator), training, validation)
        self.classes_ = self.estimator_.classes_
        return self

    def logits(self, X: Any) -> Logits:
        """Return the head's logits, of shape (n_images, n_classes)."""
        check_is_fitted(self)
        return logits_of(self.estimator_, self._seen(check_samples(self, X, reset=False)))

    def _seen(self, X: Any) -> Bags:
        bags = as_bags(X)
        return bags.side_by_side(self.scales) if self.how == "concatenate" else bags.at_scales(self.scales)
