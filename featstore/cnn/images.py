"""From a dataset to the images that networks are trained on, and to a prediction for every other one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featstore.cnn.classifier import ImageClassifier
from featstore.cnn.folds import groups_together
from featstore.cnn.pictures import Image, load_pictures, read_picture
from featstore.dataset.records import Dataset, ImageRecord
from featstore.errors import ImageError, LabelError
from featstore.store.images import ImageRow
from featstore.toolkit.predictions import Prediction, prediction_of

__all__ = ["Chosen", "choose_images", "image_groups", "predict_records"]

_GLANCE_PX = 32
_READERS = 4


@dataclass(frozen=True)
class Chosen:
    """The images of a dataset that can be used.

    Attributes
    ----------
    training : list of ImageRecord
        With a label.
    unusable : dict of str to str
        Why each image that was not taken can't be used, by its key.
    """

    training: list[ImageRecord]
    unusable: dict[str, str]


def choose_images(dataset: Dataset) -> Chosen:
    """Open every image and mask of a dataset, and keep those that can be read; training images need a label.

    Raises
    ------
    LabelError
        If no training image is left.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        problems = dict(zip((r.image for r in dataset.records), pool.map(_problem, dataset.records), strict=True))
    training = [r for r in dataset.records if r.split == "train" and not problems[r.image]]
    if not training:
        raise LabelError(
            f"no training image of {dataset.root} has a label and can be read",
            expected="labelled training images of two classes or more",
            remedy="See what featstore extract --dry-run says of these data.",
        )
    return Chosen(training, {image: why for image, why in problems.items() if why})


def _problem(record: ImageRecord) -> str:
    """Tell why an image can't be used; empty where it can."""
    if record.reason:
        return f"{record.reason}: {record.note}" if record.note else record.reason
    if record.split == "train" and not record.label:
        return "no_label: it has no label"
    try:
        read_picture(record, _GLANCE_PX)
    except ImageError as error:
        return f"{error.reason}: {error}"
    return ""


def image_groups(images: Sequence[Image]) -> NDArray[np.str_]:
    """Name groups of images that must not straddle a fold: of one group by their rows, identical, of identical masks.

    What `ImageClassifier` keeps together by itself inside of ``fit`` has to be told to folds around it.

    Parameters
    ----------
    images : sequence of ImageRecord, str or Path

    Returns
    -------
    ndarray of shape (n_images,), str
    """
    return groups_together(load_pictures(images, _GLANCE_PX))


def predict_records(
    model: ImageClassifier, records: Sequence[ImageRecord], unusable: dict[str, str]
) -> list[Prediction]:
    """Predict images in their order; the class prior for those that can't be used.

    Parameters
    ----------
    model : ImageClassifier
        Fitted.
    records : sequence of ImageRecord
    unusable : dict of str to str
        Of `choose_images`.
    """
    usable = [record for record in records if record.image not in unusable]
    found = dict(zip((r.image for r in usable), model.predict_proba(usable), strict=True)) if usable else {}
    rows = [ImageRow(r.image, r.sample_index, r.position, r.split, note=r.note) for r in records]
    return [prediction_of(model, row, found.get(row.image), unusable.get(row.image, "")) for row in rows]
