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

from featstore.errors import DataError, FingerprintMismatchError, ModelError
from featstore.store import Bags, ImageRow, JoinedBags, Store, join_bags, require_same_content
from featstore.store.disk.files import write_atomically

__all__ = ["Prediction", "predict_images", "prediction_of", "write_predictions", "write_submission"]


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


def predict_images(
    model: Any, store: Store | Sequence[Store], split: str = "test", *, tta: bool = False
) -> list[Prediction]:
    """Predict each image of a split, in the order of the input; the class prior for one without embeddings.

    Parameters
    ----------
    model : FoldEnsemble
        Another classifier does, too, where every image has embeddings.
    store : Store or sequence of Store
        Several, in any order, for a model that was fitted on the embeddings of several encoders.
    split : {"test", "train", "all"}
    tta : bool
        Test-time augmentation: the mean of the probabilities for the clean crops and for each stored repeat.

    Raises
    ------
    DataError
        If the split has no image, or with ``tta`` none that has an augmented repeat.
    FingerprintMismatchError
        If the stores are not of the recipes that the model was fitted on.
    ModelError
        If the model is no classifier, has no class prior for an image without embeddings, or predicts no probabilities.
    """
    if not hasattr(model, "predict_proba") or not hasattr(model, "classes_"):
        raise ModelError(f"a {type(model).__name__} predicts no class", expected="a model that featstore fit wrote")
    stores = _as_fitted(model, [store] if isinstance(store, Store) else list(store))
    require_same_content(stores)
    views = [each.bags(split, repeats=None if tta else 0, labelled=False) for each in stores]
    bags = views[0] if len(views) == 1 else join_bags(views)
    known = {row.image: row for each in reversed(stores) for row in each.images.values()}
    rows = sorted((row for row in known.values() if split in {"all", row.split}), key=lambda row: row.position)
    where = " and ".join(str(each.path) for each in stores)
    if not rows:
        raise DataError(f"{where}: no {split} images", remedy="Choose others: --split train or --split all.")
    if tta and len(bags) and bags.repeats == [0]:
        raise DataError(
            f"{where}: no augmented repeats of {split} images",
            remedy="Leave --tta out, or make some: featstore extract --test-repeats 4, with the options of the store.",
        )
    without: dict[str, str] = {}
    for each, view in zip(stores, views, strict=True):
        for image in known.keys() - set(view.images.tolist()) - without.keys():
            without[image] = _why(each, image, named=len(stores) > 1)
    _require_prior(model, sum(row.image in without for row in rows), where)
    found = _mean_probabilities(model, bags)
    return [prediction_of(model, row, found.get(row.image), without.get(row.image, "")) for row in rows]


def _require_prior(model: Any, without: int, where: str) -> None:
    """Refuse a model that would have to make something up for images without embeddings."""
    if without and not hasattr(model, "class_prior_"):
        raise ModelError(
            f"{where}: {without} of the images without embeddings, and a {type(model).__name__} has no class prior",
            expected="a FoldEnsemble, such as featstore fit writes",
            remedy="Fit one: featstore fit, or FoldEnsemble(estimator) around this one.",
        )


def _require_finite(probabilities: NDArray[np.floating[Any]], images: NDArray[np.str_]) -> None:
    strange = images[~np.isfinite(probabilities).all(axis=1)]
    if len(strange):
        raise ModelError(
            f"the model's probabilities for {strange[0]} are no numbers ({len(strange)} such images)",
            remedy="Its file may be damaged: fit the model again.",
        )


def _as_fitted(model: Any, stores: list[Store]) -> list[Store]:
    """Put stores in the order of those that the model was fitted on."""
    fitted = str(getattr(model, "provenance_", {}).get("fingerprint", ""))
    if not fitted:
        return stores
    left, ordered = list(stores), []
    for fingerprint in fitted.split("+"):
        match = next((store for store in left if store.fingerprint == fingerprint), None)
        if match is not None:
            left.remove(match)
            ordered.append(match)
    if left or len(ordered) < fitted.count("+") + 1:
        given = ", ".join(f"{store.path}: {store.fingerprint}" for store in stores)
        known = fitted.split("+")
        number = "" if len(known) == len(stores) else f"{len(stores)} of {len(known)} stores given: "
        raise FingerprintMismatchError(
            f"{number}the embeddings have fingerprint {given}",
            expected=f"{' and '.join(known)}, on which the model was fitted",
            remedy="Predict on stores of the same recipes, all of them, or fit again on these.",
        )
    return ordered


def _mean_probabilities(model: Any, bags: Bags | JoinedBags) -> dict[str, NDArray[np.floating[Any]]]:
    """Average over the repeats that each image has: for bags of clean repeats alone, what the model says of these."""
    total: dict[str, list[NDArray[np.floating[Any]]]] = {}
    repeats = bags.repeats
    for repeat in repeats:
        some = bags if repeats == [0] else bags.at_repeat(repeat)
        if len(some):
            predicted = model.predict_proba(some)
            _require_finite(predicted, some.images)
            for image, probabilities in zip(some.images.tolist(), predicted, strict=True):
                total.setdefault(image, []).append(probabilities)
    return {image: np.mean(each, axis=0) for image, each in total.items()}


def _why(store: Store, image: str, *, named: bool) -> str:
    """Tell why the store has no embedding of an image, and by its name which store it is."""
    row = store.images.get(image)
    told = f"{row.reason}: {row.note}" if row and row.reason else "no embedding"
    return f"{told}, in {store.path.name}" if named else told


def prediction_of(model: Any, row: ImageRow, probabilities: NDArray[np.floating[Any]] | None, why: str) -> Prediction:
    """Say what a model's probabilities mean for an image; without any the class prior, and why it has none."""
    note = row.note
    if probabilities is None:
        probabilities = model.class_prior_
        note = f"class prior only ({why})"
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
