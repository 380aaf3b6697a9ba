"""Figures of a classifier on images that it has not seen: of all images once, or of many resamples of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError

__all__ = ["METRICS", "Scored"]

METRICS = ("macro_f1", "accuracy", "ece", "brier", "log_loss")
"""Of the first two more is better, of the others less."""

ECE_BINS = 15
"""As many as Guo et al. (2017, arXiv:1706.04599) take."""

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Scored:
    """Probabilities of images and their true classes, ready to be scored.

    Figures are computed for weights of the images, of shape (n_resamples, n_images): how often a resample has each of
    them. All of them 1 gives the figures of the images themselves.

    Parameters
    ----------
    probabilities : ndarray of shape (n_images, n_classes)
    codes : ndarray of shape (n_images,), int
        Position of each image's true class.
    """

    probabilities: NDArray[np.float64]
    codes: NDArray[np.intp]

    def __post_init__(self) -> None:
        if not np.isfinite(self.probabilities).all():
            raise DataError("probabilities that are not finite", expected="numbers from 0 to 1")

    def figures(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Compute every metric of `METRICS` for each row of weights: ndarrays of shape (n_resamples,).

        ``macro_f1`` is the mean F1 of the classes that occur, as truth or as prediction, in all the images; NaN for a
        resample that lacks one of them, where it would be the mean of others; ``ece`` the expected calibration error of
        the highest probability in `ECE_BINS` bins of equal width; ``brier`` the mean over images of the squared errors,
        summed over classes (Brier, 1950), so from 0 to 2; ``log_loss`` is in nats.
        """
        total = weights.sum(axis=1)
        means = weights @ self._columns / total[:, None]
        return {
            "macro_f1": self._macro_f1(weights),
            "accuracy": means[:, 0],
            "ece": np.abs(weights @ self._gaps).sum(axis=1) / total,
            "brier": means[:, 1],
            "log_loss": means[:, 2],
        }

    def per_class(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Compute ``f1``, ``precision`` and ``recall``, ndarrays of shape (n_resamples, n_classes).

        NaN where a figure does not exist: the precision of a class that is never predicted, the recall of one without
        images.
        """
        both, given, true = self._counts(weights)
        with np.errstate(invalid="ignore"):
            return {"f1": 2 * both / (given + true), "precision": both / given, "recall": both / true}

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """Position of the class with the highest probability, of shape (n_images,)."""
        predicted: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return predicted

    def _macro_f1(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        both, given, true = self._counts(weights)
        here = np.bincount(np.concatenate([self.predicted, self.codes]), minlength=given.shape[1]) > 0
        with np.errstate(invalid="ignore"):
            means: NDArray[np.float64] = (2 * both[:, here] / (given + true)[:, here]).mean(axis=1)
        return means

    def _counts(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Count, for each class, images rightly predicted, predicted, and truly of it."""
        given, true = self._hot(self.predicted), self._hot(self.codes)
        return weights @ (given * true), weights @ given, weights @ true

    def _hot(self, codes: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.eye(self.probabilities.shape[1])[codes]

    @cached_property
    def _columns(self) -> NDArray[np.float64]:
        """What is averaged over images: whether right, squared errors, and the surprise in nats."""
        right = self.predicted == self.codes
        squares = ((self.probabilities - self._hot(self.codes)) ** 2).sum(axis=1)
        chosen = np.take_along_axis(self.probabilities, self.codes[:, None], axis=1)[:, 0]
        return np.stack([right, squares, -np.log(np.clip(chosen, _EPS, 1))], axis=1)

    @cached_property
    def _gaps(self) -> NDArray[np.float64]:
        """How far right and sure are apart, each image's in the column of its bin: (n_images, ECE_BINS)."""
        sure = self.probabilities.max(axis=1)
        gaps = np.zeros((len(sure), ECE_BINS))
        bins = np.clip(np.ceil(sure * ECE_BINS).astype(np.intp) - 1, 0, ECE_BINS - 1)
        gaps[np.arange(len(sure)), bins] = (self.predicted == self.codes) - sure
        return gaps
