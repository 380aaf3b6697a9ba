"""A small neural network on embeddings: trained by torch, kept as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from featstore.store.bags import Bags
from featstore.store.instances import Located
from featstore.store.runs import pieces
from featstore.toolkit.inputs import (
    as_bags,
    check_bags,
    check_finite,
    check_labels,
    encode,
    is_number,
    is_whole,
    require,
)
from featstore.toolkit.labelled import EvalSet, Labelled, weights_of_classes, with_validation
from featstore.toolkit.logits import LogitClassifier, Logits
from featstore.toolkit.training import Optimisation, Part, segment_means, train

__all__ = ["MLPHead"]

_ROWS_AT_ONCE = 8192


class MLPHead(LogitClassifier):
    """Multi-layer perceptron on blob or image embeddings.

    Augmented repeats train; the clean repeat validates and predicts. Embeddings are standardised inside, and the
    standardisation is folded into the first layer, so ``coefs_`` and ``intercepts_`` alone predict, without torch.

    Parameters
    ----------
    hidden : tuple of int, default=(128,)
        Widths of the hidden layers (ReLU). ``()`` is a softmax regression.
    level : {"blob", "image"}, default="blob"
        "blob" trains on blob embeddings under their image's label; an image's logits are the mean over its blobs.
        "image" trains on an image's mean embedding, one for each repeat.
    dropout : float, default=0.3
        Of hidden units.
    lr, weight_decay : float, default=1e-3, 1e-2
        Of AdamW; the rate falls to 0 over ``max_epochs`` along a cosine.
    batch_size : int, default=128
        At most; with few samples less, so that an epoch has about 16 steps.
    max_epochs : int, default=60
        An epoch shows every blob (or image) once, in a random one of its repeats.
    patience : int, default=10
        Stop after so many epochs without a better validation log-loss, and keep the best epoch's weights. Log-loss
        rather than macro-F1, because on the few dozen images of a fold's validation part F1 moves in jumps of several
        hundredths, and its best value over epochs is mostly luck.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss, also in that of the validation part.
    validation_fraction : float, default=0.1
        Share of images held out for early stopping where ``fit`` is given no ``eval_set``: stratified, groups
        together. With fewer than four images (groups) of a class nothing is held out and all epochs run.
    random_state : int, RandomState or None
        Decides the hold-out, initial weights, batches and dropout. The same int gives the same bytes.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coefs_, intercepts_ : list of ndarray of shape (n_in, n_out) and (n_out,), float64
        A layer each; they take raw embeddings.
    n_iter_, best_epoch_ : int
        Epochs run, and the one whose weights were kept, from 1.
    validation_loss_ : list of float
        Log-loss on the validation part after each epoch; empty without one.

    Notes
    -----
    In the loss an image counts once, however many blobs it has: scores count images.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (128,),
        *,
        level: str = "blob",
        dropout: float = 0.3,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 128,
        max_epochs: int = 60,
        patience: int = 10,
        class_weight: Any = None,
        validation_fraction: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.level = level
        self.dropout = dropout
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any, eval_set: EvalSet | None = None, *, sample_weight: Any = None, groups: Any = None
    ) -> MLPHead:
        """Train.

        Parameters
        ----------
        X : Bags or array-like of shape (n_images, dim)
        y : array-like of shape (n_images,)
        eval_set : tuple of (X, y) or (X, y, sample_weight), optional
            Images for early stopping; never trained on.
        sample_weight : array-like of shape (n_images,), optional
            What each image counts, 0 or more, in the loss.
        groups : array-like of shape (n_images,), optional
            Images that stay together where some are held out; ``X.groups`` for bags.

        Returns
        -------
        self
        """
        how = self._optimisation()
        bags = check_bags(self, X, reset=True)
        labels = check_labels(self, y, len(bags))
        random_state = check_random_state(self.random_state)
        training, validation = with_validation(self, bags, labels, eval_set, sample_weight, groups)
        self.classes_ = np.unique(training.y)
        of_class = weights_of_classes(self.class_weight, self.classes_, training)
        part = self._part(training, "all", of_class)
        held_out = None if validation is None else self._part(validation, "clean", of_class)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        done = train(part, held_out, len(self.classes_), how, seed)
        self.coefs_, self.intercepts_ = done.coefs, done.intercepts
        self.n_iter_, self.best_epoch_, self.validation_loss_ = done.n_epochs, done.best_epoch, done.losses
        return self

    def logits(self, X: Any) -> Logits:
        """Return logits of shape (n_images, n_classes), from clean embeddings."""
        check_is_fitted(self)
        rows = self._rows(check_bags(self, X, reset=False), "clean")
        check_finite(rows.stored, rows.row)
        at_once = pieces(len(rows.row), 1, _ROWS_AT_ONCE)
        return segment_means(np.concatenate([self._forward(rows.gather(piece)) for piece in at_once]), rows.image)

    def _forward(self, embeddings: NDArray[np.float32]) -> Logits:
        rows = embeddings.astype(np.float64)
        for coefs, intercepts in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            rows = np.maximum(rows @ coefs + intercepts, 0)
        logits: Logits = rows @ self.coefs_[-1] + self.intercepts_[-1]
        return logits

    def _rows(self, bags: Bags, repeats: Any) -> Located:
        if self.level == "blob":
            return bags.locate(repeats)
        if repeats == "all":
            means = bags.repeat_means()
            return Located(means.embeddings, np.arange(len(means.image)), *means[1:])
        zeros, order = np.zeros(len(bags), dtype=np.int32), np.arange(len(bags))
        return Located(bags.means(), order, order, zeros - 1, zeros)

    def _part(self, images: Labelled, repeats: str, of_class: NDArray[np.float64]) -> Part:
        rows = self._rows(as_bags(images.X), repeats)
        check_finite(rows.stored, rows.row)
        codes = encode(images.y, self.classes_)
        changed = (np.diff(rows.image, prepend=-1) != 0) | (np.diff(rows.blob, prepend=-2) != 0)
        first = np.flatnonzero(changed)
        return Part(
            rows=rows,
            first=first,
            count=np.diff(first, append=len(changed)),
            codes=codes,
            weights=of_class[codes] * (1.0 if images.sample_weight is None else images.sample_weight),
        )

    def _optimisation(self) -> Optimisation:
        whole = "a whole number, 1 or more"
        for name in ("batch_size", "max_epochs", "patience"):
            value = getattr(self, name)
            require(is_whole(value), f"{name} is {value!r}", whole)
        for name, low, high in (("lr", 0, np.inf), ("weight_decay", 0, np.inf), ("dropout", 0, 1)):
            value = getattr(self, name)
            require(is_number(value, low, high), f"{name} is {value!r}", f"a number from {low} and below {high}")
        require(self.level in ("blob", "image"), f"level is {self.level!r}", "'blob' or 'image'")
        ok = isinstance(self.hidden, (tuple, list)) and all(is_whole(width) for width in self.hidden)
        require(ok, f"hidden is {self.hidden!r}", "a tuple of whole numbers, 1 or more")
        return Optimisation(
            hidden=tuple(int(width) for width in self.hidden),
            dropout=float(self.dropout),
            lr=float(self.lr),
            weight_decay=float(self.weight_decay),
            batch_size=int(self.batch_size),
            max_epochs=int(self.max_epochs),
            patience=int(self.patience),
        )
