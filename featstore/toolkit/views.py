"""One encoder's embeddings out of several: what lets heads on different encoders be fused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from featstore.errors import SettingError
from featstore.store.bags import Bags
from featstore.store.joined import JoinedBags
from featstore.toolkit.inputs import check_labels, check_samples, is_whole, require
from featstore.toolkit.labelled import EvalSet, Labelled, fit_estimator
from featstore.toolkit.logits import LogitClassifier, Logits, logits_of

__all__ = ["OnView"]


class OnView(LogitClassifier):
    """Fit a head on one view of `JoinedBags`: the embeddings of one encoder.

    Parameters
    ----------
    estimator : classifier
        One that takes `Bags`. Fitted as a clone.
    view : int, default=0
        Position of the view.
    n_views : int, optional
        Refuse `JoinedBags` of another number of views, one of which would be left unused.

    Attributes
    ----------
    estimator_ : classifier
    classes_ : ndarray of shape (n_classes,)
    """

    def __init__(self, estimator: Any, view: int = 0, n_views: int | None = None) -> None:
        self.estimator = estimator
        self.view = view
        self.n_views = n_views

    def fit(self, X: Any, y: Any, eval_set: EvalSet | None = None, *, sample_weight: Any = None) -> OnView:
        """Fit a clone of the head on its view.

        Parameters
        ----------
        X : JoinedBags
        y : array-like of shape (n_images,)
        eval_set : tuple of (X, y) or (X, y, sample_weight), optional
            Images for the head's choices; never trained on.
        sample_weight : array-like of shape (n_images,), optional
            What each image counts, 0 or more; passed on.

        Returns
        -------
        self

        Raises
        ------
        SettingError
            If X is nothing joined, or has fewer views, or others than ``n_views``.
        """
        require(is_whole(self.view, 0), f"view is {self.view!r}", "the position of a view: 0, 1, ...")
        enough = self.n_views is None or is_whole(self.n_views, self.view + 1)
        require(enough, f"n_views is {self.n_views!r}", f"a whole number, {self.view + 1} or more, or None")
        samples = check_samples(self, X, reset=True)
        labels = check_labels(self, y, len(samples))
        training = Labelled(self._seen(samples), labels, sample_weight)
        validation = None
        if eval_set is not None:
            validation = Labelled(self._seen(eval_set[0]), np.asarray(eval_set[1]), *eval_set[2:])
        self.estimator_ = fit_estimator(clone(self.estimator), training, validation)
        self.classes_ = self.estimator_.classes_
        return self

    def logits(self, X: Any) -> Logits:
        """Return the head's logits, of shape (n_images, n_classes)."""
        check_is_fitted(self)
        return logits_of(self.estimator_, self._seen(check_samples(self, X, reset=False)))

    def _seen(self, X: Any) -> Bags:
        views: tuple[Bags, ...] = X.views if isinstance(X, JoinedBags) else ()
        if len(views) <= self.view or self.n_views not in (None, len(views)):
            found = f"{len(views)} views" if views else f"a {type(X).__name__}"
            raise SettingError(
                f"{found} for a head on view {self.view}",
                expected=f"join_bags of {self.n_views or f'{self.view + 1} or more'} stores' bags",
            )
        seen: Bags = replace(views[self.view], groups=X.groups)
        return seen
