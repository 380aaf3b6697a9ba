"""A prediction for every image of a store, also for those that have no embedding."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.store import ImageRow, Store
from featstore.store.disk.files import write_atomically

__all__ = ["Prediction", "predict_images", "write_predictions", "write_submission"]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes
    ----------
    row : ImageRow
    label : str
    probabilities : ndarray of shape (n_classes,)
    note : str
        What to know about it: the fallback that was taken, or that it is only the class prior.
    """

    row: ImageRow
    label: str
    probabilities: NDArray[np.floating[Any]]
    note: str


def predict_images(model: Any, store: Store, split: str = "test") -> list[Prediction]:
    """Predict each image of a split, in the order of the input; the class prior for one without embeddings.

    Parameters
    ----------
    model : FoldEnsemble
    store : Store
    split : {"test", "train", "all"}

    Raises
    ------
    DataError
        If the split has no image.
    """
    bags = store.bags(split, repeats=0, labelled=False)
    rows = sorted((row for row in store.images.values() if split in {"all", row.split}), key=lambda row: row.position)
    if not rows:
        raise DataError(f"{store.path} has no {split} images", remedy="Choose others: --split train or --split all.")
    found = dict(zip(bags.images.tolist(), model.predict_proba(bags) if len(bags) else (), strict=True))
    return [_prediction(model, row, found.get(row.image)) for row in rows]


def _prediction(model: Any, row: ImageRow, probabilities: NDArray[np.floating[Any]] | None) -> Prediction:
    note = row.note
    if probabilities is None:
        probabilities = model.class_prior_
        note = f"class prior only ({row.reason}): {row.note}" if row.reason else "class prior only: no embedding"
    return Prediction(row, str(model.classes_[int(np.argmax(probabilities))]), probabilities, note)


def write_predictions(path: Path, predictions: Sequence[Prediction], classes: Sequence[Any], *, keys: bool) -> None:
    """Write ``sample_index,label,confidence,prob_<class>...,note``, and with ``keys`` the image's key as well.

    Raises
    ------
    StoreWriteError
        If the file can't be written.
    """
    header = ["sample_index", "label", "confidence", *(f"prob_{name}" for name in classes), "note"]
    lines = [
        [
            prediction.row.sample_index,
            prediction.label,
            f"{prediction.probabilities.max():.6f}",
            *(f"{value:.6f}" for value in prediction.probabilities),
            prediction.note,
            *([prediction.row.image] if keys else []),
        ]
        for prediction in predictions
    ]
    _write(path, [header + ["image"] * keys, *lines])


def write_submission(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write ``sample_index,label``, as the challenge takes it."""
    lines = [[prediction.row.sample_index, prediction.label] for prediction in predictions]
    _write(path, [["sample_index", "label"], *lines])


def _write(path: Path, lines: Sequence[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_atomically(path, text.getvalue().encode())
