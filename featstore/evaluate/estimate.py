"""What a nested cross-validation found: predictions of images by models that have not seen them, and their figures."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.evaluate.bootstrap import RESAMPLES, interval, resampled_weights, widened
from featstore.evaluate.judged import data_digest
from featstore.evaluate.metrics import METRICS, Scored
from featstore.store.disk.files import write_atomically
from featstore.toolkit.threads import one_core

__all__ = ["Comparison", "Evaluation", "compare", "without_nan"]

Figure = dict[str, float]

_MOST = {"macro_f1": 1.0, "accuracy": 1.0, "ece": 1.0, "brier": 2.0}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions of every image, once a seed, each by a model that has not seen it.

    Attributes
    ----------
    images : ndarray of shape (n_images,), str
    groups : ndarray of shape (n_images,)
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_images,), int
        Position of each image's true class.
    folds : ndarray of shape (n_seeds, n_images), int
        The outer fold that an image was held out in.
    probabilities : ndarray of shape (n_seeds, n_images, n_classes)
    selection_macro_f1 : ndarray of shape (n_seeds, n_splits)
        What the models fitted in each outer fold would have said of themselves: their out-of-fold macro-F1, on images
        that drove their choices. NaN for models that have no such figure.
    """

    images: NDArray[np.str_]
    groups: NDArray[Any]
    classes: NDArray[Any]
    codes: NDArray[np.intp]
    folds: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    selection_macro_f1: NDArray[np.float64]

    @property
    def n_splits(self) -> int:
        """Number of outer folds."""
        return int(self.selection_macro_f1.shape[1])

    @property
    def labels(self) -> NDArray[Any]:
        """True class of each image, of shape (n_images,)."""
        labels: NDArray[Any] = self.classes[self.codes]
        return labels

    @property
    def data_digest(self) -> str:
        """Digest of the images, their labels and their groups."""
        return data_digest(self.images, self.labels, self.groups)

    @cached_property
    def per_seed(self) -> list[Figure]:
        """Every metric of `METRICS`, a dict a seed."""
        once = np.ones((1, len(self.codes)))
        return [{name: float(values[0]) for name, values in scored.figures(once).items()} for scored in self._scored]

    def figures(self, n_resamples: int = RESAMPLES) -> dict[str, Figure]:
        """Tell each metric of `METRICS`: ``mean`` and ``std`` over seeds, ``ci_low`` and ``ci_high``.

        The interval is a bootstrap over images (groups), 95%, of the mean over seeds, `widened` for the training images
        that folds share: what other images would have changed. Seeds are in ``std``, which is NaN for one seed.
        Resampling makes the calibration error larger; so its interval goes as far below the mean as resamples go above
        it, and the other way round, down to 0.
        """
        samples, found = self.resampled(n_resamples), {}
        for name in METRICS:
            values = np.array([figures[name] for figures in self.per_seed])
            mean, (low, high) = float(values.mean()), interval(samples[name])
            if name == "ece":
                low, high = min(2 * mean - high, mean), max(2 * mean - low, mean)
            low, high = widened(mean, (low, high), self.n_splits)
            low, high = max(low, 0.0), min(high, _MOST.get(name, math.inf))
            found[name] = {"mean": mean, "std": _std(values), "ci_low": low, "ci_high": high}
        return found

    def per_class(self, n_resamples: int = RESAMPLES) -> dict[str, dict[str, Any]]:
        """Tell ``images``, ``f1``, ``precision`` and ``recall`` of each class, with the interval of its F1.

        Means over seeds; NaN where a figure does not exist, as the precision of a class that is never predicted.
        """
        once = np.ones((1, len(self.codes)))
        found = [scored.per_class(once) for scored in self._scored]
        weights = resampled_weights(self.groups, n_resamples)
        sampled = np.concatenate(
            [np.mean([scored.per_class(some)["f1"] for scored in self._scored], axis=0) for some in weights]
        )
        counts = np.bincount(self.codes, minlength=len(self.classes))
        rows: dict[str, dict[str, Any]] = {}
        for place, label in enumerate(self.classes):
            means = {name: float(np.mean([each[name][0, place] for each in found])) for name in found[0]}
            low, high = widened(means["f1"], interval(sampled[:, place]), self.n_splits)
            low, high = max(low, 0.0), min(high, 1.0)
            rows[str(label)] = {"images": int(counts[place]), **means, "f1_ci_low": low, "f1_ci_high": high}
        return rows

    def to_dict(self, n_resamples: int = RESAMPLES) -> dict[str, Any]:
        """Tell all figures as one JSON object; what does not exist is None."""
        selection = self.selection_macro_f1
        content: dict[str, Any] = {
            **self.figures(n_resamples),
            "per_class": self.per_class(n_resamples),
            "per_seed": self.per_seed,
            "selection_macro_f1": float(selection.mean()),
            "images": len(self.codes),
            "groups": len(np.unique(self.groups)),
            "data_digest": self.data_digest,
            "classes": [str(name) for name in self.classes],
            "folds": selection.shape[1],
            "seeds": selection.shape[0],
        }
        finite: dict[str, Any] = without_nan(content)
        return finite

    def write_csv(self, path: Path) -> None:
        """Write a row for each seed and image: ``seed,fold,image,group,label,predicted,prob_<class>...``."""
        text = io.StringIO(newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(
            ["seed", "fold", "image", "group", "label", "predicted", *(f"prob_{name}" for name in self.classes)]
        )
        for seed, probabilities in enumerate(self.probabilities):
            for place, row in enumerate(probabilities):
                who = [self.images[place], self.groups[place], self.labels[place], self.classes[int(row.argmax())]]
                lines.writerow([seed, self.folds[seed, place], *who, *(f"{value:.6f}" for value in row)])
        write_atomically(path, text.getvalue().encode())

    @cached_property
    def _scored(self) -> list[Scored]:
        return [Scored(probabilities, self.codes) for probabilities in self.probabilities]

    def resampled(self, n_resamples: int = RESAMPLES) -> dict[str, NDArray[np.float64]]:
        """Compute each metric's mean over seeds for every resample, (n_resamples,); the same ones for equal groups."""
        parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in METRICS}
        with one_core():
            for weights in resampled_weights(self.groups, n_resamples):
                of_seeds = [scored.figures(weights) for scored in self._scored]
                for name in METRICS:
                    parts[name].append(np.mean([figures[name] for figures in of_seeds], axis=0))
        return {name: np.concatenate(values) for name, values in parts.items()}

    def in_order_of(self, other: Evaluation) -> Evaluation:
        """Return this one with its images in the order of another evaluation's, and with that one's groups.

        Raises
        ------
        DataError
            If images or labels differ.
        """
        place = {name: index for index, name in enumerate(self.images.tolist())}
        wanted = other.images.tolist()
        only = len(place.keys() ^ set(wanted))
        if only or not len(place) == len(self.images) == len(wanted):
            raise DataError(
                f"evaluations of different images ({only} are in one of them alone)",
                expected="the same images in both",
                remedy="Extract both stores from the same data, and leave out the same images.",
            )
        order = np.array([place[name] for name in wanted])
        if self.labels[order].astype(np.str_).tolist() != other.labels.astype(np.str_).tolist():
            raise DataError("evaluations of the same images with different labels", expected="one label an image")
        return replace(
            self,
            images=other.images,
            groups=other.groups,
            codes=self.codes[order],
            folds=self.folds[:, order],
            probabilities=self.probabilities[:, order],
        )


Comparison = dict[str, Figure]
"""For each metric ``difference``, ``ci_low``, ``ci_high``, and ``std`` over seeds."""


def compare(ours: Evaluation, theirs: Evaluation, n_resamples: int = RESAMPLES) -> Comparison:
    """Tell how much better ours is, and whether other images or seeds might have said otherwise.

    Paired: both are scored on the same resamples of the same images, so what makes images easy or hard cancels out.

    Parameters
    ----------
    ours, theirs : Evaluation
        Of the same images with the same labels, in any order. Groups are those of ours.
    n_resamples : int

    Returns
    -------
    dict of str to dict
        For each metric of `METRICS` ``difference`` (ours less theirs), a 95% interval ``ci_low`` to ``ci_high`` over
        images (groups), and ``std``, the standard deviation of the difference over seeds (paired where both have as
        many; NaN for one seed).

    Raises
    ------
    DataError
        If images or labels differ.
    """
    theirs = theirs.in_order_of(ours)
    found: Comparison = {}
    sampled, against = ours.resampled(n_resamples), theirs.resampled(n_resamples)
    for name in METRICS:
        mine, other = (np.array([figures[name] for figures in each.per_seed]) for each in (ours, theirs))
        difference = float(mine.mean() - other.mean())
        low, high = widened(difference, interval(sampled[name] - against[name]), ours.n_splits)
        paired = len(mine) == len(other)
        std = _std(mine - other) if paired else float(np.hypot(_std(mine), _std(other)))
        found[name] = {"difference": difference, "std": std, "ci_low": low, "ci_high": high}
    return found


def _std(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def without_nan(value: Any) -> Any:
    """Replace what JSON has no number for by None, in dicts and lists."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
