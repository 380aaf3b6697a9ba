"""What `ImageClassifier` makes sure of before it trains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.cnn.augment import STRENGTHS
from featstore.encoders.device import require_known
from featstore.errors import LabelError
from featstore.toolkit.inputs import encode, is_number, is_whole, require

__all__ = ["check_settings", "encode_kept", "require_classes"]

_CHOICES = {
    "augmentation": tuple(STRENGTHS),
    "sampling": ("shuffled", "balanced"),
    "schedule": ("constant", "cosine"),
}
_WHOLE = {
    "n_splits": 1,
    "batch_size": 2,
    "max_epochs": 1,
    "patience": 1,
    "frozen_epochs": 0,
    "warmup_epochs": 0,
}
_BELOW = {
    "lr": np.inf,
    "body_lr": np.inf,
    "weight_decay": np.inf,
    "dropout": 1,
    "label_smoothing": 1,
    "validation_fraction": 1,
}


def check_settings(model: Any) -> None:
    """Refuse parameters that are not what they may be.

    Raises
    ------
    SettingError
    """
    require_known(model.device, model.precision)
    if model.checkpoints is not None:
        seeded, said = is_whole(model.random_state, 0), f"checkpoints, and random_state {model.random_state!r}"
        require(seeded, said, "a whole number as random_state: without one no other fit draws the same folds")
    for name, choices in _CHOICES.items():
        value = getattr(model, name)
        require(value in choices, f"{name} is {value!r}", f"one of {', '.join(choices)}")
    for name, low in _WHOLE.items():
        value = getattr(model, name)
        require(is_whole(value, low), f"{name} is {value!r}", f"a whole number, {low} or more")
    for name, high in _BELOW.items():
        value = getattr(model, name)
        require(is_number(value, 0, high), f"{name} is {value!r}", f"a number from 0 and below {high}")


def require_classes(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return the classes of the images that are trained on, and how many images each has.

    Raises
    ------
    LabelError
        If there are fewer than two classes.
    """
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) < 2:
        one = f"one class, {str(classes[0])!r}" if len(classes) else "no image"
        raise LabelError(f"{one}, to train on", expected="two classes or more", remedy="Label images of another class.")
    return classes, counts


def encode_kept(y: NDArray[Any], kept: NDArray[np.bool_], classes: NDArray[Any]) -> NDArray[np.intp]:
    """Return class positions, -1 for images that are left out."""
    codes = np.full(len(y), -1)
    codes[kept] = encode(y[kept], classes)
    return codes
