"""Fitted networks as one file: safetensors, with what else there is to know as JSON in its header."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from featstore.cnn.checkpoints import read_tensors, write_tensors
from featstore.cnn.classifier import ImageClassifier
from featstore.cnn.networks import Network
from featstore.cnn.settings import settings_of
from featstore.encoders.timm_names import require_timm
from featstore.errors import FeatstoreError, ModelFormatError

__all__ = ["load_networks", "save_networks"]

FORMAT = "featstore-networks-1"

_HOW = ("weights", "device", "precision", "checkpoints", "n_jobs", "random_state")
"""Parameters that a fitted model no longer needs: where things were, and how fast."""

_LARGEST_PX = 2048

_SCORES = ("fold_scores_", "oof_macro_f1_", "oof_accuracy_", "left_out_", "trained_on_", "notes_")

_SHA256 = re.compile(r"[0-9a-f]{64}")


def save_networks(model: ImageClassifier, path: Path | str) -> None:
    """Write a fitted `ImageClassifier` as one file, whole or not at all.

    Raises
    ------
    StoreWriteError
        If the file can't be written.
    """
    import torch

    network = {name: value for name, value in asdict(model.network_).items() if name != "folder"}
    content = {
        "parameters": {name: value for name, value in model.get_params().items() if name not in _HOW},
        "network": network,
        "classes": [str(name) for name in model.classes_],
        "class_prior": model.class_prior_.tolist(),
        "temperatures": model.temperatures_,
        **{name: getattr(model, name) for name in _SCORES},
    }
    tensors = {
        f"{fold}.{name}": torch.from_numpy(array)
        for fold, state in enumerate(model.networks_)
        for name, array in state.items()
    }
    write_tensors(Path(path), FORMAT, content, tensors)


def load_networks(path: Path | str, *, device: str = "auto") -> ImageClassifier:
    """Read a fitted `ImageClassifier`; its classes are text, whatever they were.

    Raises
    ------
    ModelFormatError
        If the file is none that `save_networks` wrote.
    """
    path = Path(path)
    content, tensors = read_tensors(path, FORMAT)
    require_timm()
    try:
        return _restored(content, tensors, device)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, FeatstoreError, RuntimeError) as error:
        raise ModelFormatError(
            f"{path} does not hold together as a model ({type(error).__name__}: {error})",
            remedy="Train it again: featstore baseline.",
        ) from error


def _restored(content: dict[str, Any], tensors: dict[str, Any], device: str) -> ImageClassifier:
    known = set(inspect.signature(ImageClassifier).parameters) - set(_HOW)
    parameters = {name: value for name, value in content["parameters"].items() if name in known}
    model = ImageClassifier(**parameters, device=device)
    network = content["network"]
    mean, std = _colour(network["mean"]), _colour(network["std"])
    model.network_ = Network(network["name"], int(network["side_px"]), mean, std, None, str(network["digest"]))
    model.classes_ = np.array([str(name) for name in content["classes"]])
    model.class_prior_ = np.array(content["class_prior"], dtype=np.float64)
    model.temperatures_ = [float(value) for value in content["temperatures"]]
    content = {"trained_on_": [], **content}  # files from before it was written lack it
    for name in _SCORES:
        setattr(model, name, content[name])
    states: list[dict[str, Any]] = [{} for _ in model.temperatures_]
    for name, tensor in tensors.items():
        fold, _, rest = name.partition(".")
        states[int(fold)][rest] = tensor.numpy()
    model.networks_ = states
    model.settings_ = settings_of(model)
    _require(model)
    return model


def _colour(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _require(model: ImageClassifier) -> None:
    """Make sure that the weights are those of the network that is named."""
    n_classes = len(model.classes_)
    prior, network = model.class_prior_, model.network_
    if n_classes < 2 or prior.shape != (n_classes,) or not np.isfinite(prior).all() or not model.networks_:
        raise ValueError("classes, their shares and networks do not fit together")
    if not 1 <= network.side_px <= _LARGEST_PX or not np.isfinite([*network.mean, *network.std]).all():
        raise ValueError(f"pictures of {network.side_px} px")
    if network.name.partition(".")[0] not in require_timm().list_models():  # a scheme could name a place to load from
        raise ValueError(f"timm has no network {network.name!r}")
    if not all(np.isfinite(temperature) and temperature > 0 for temperature in model.temperatures_):
        raise ValueError("a temperature is not above 0")
    _require_scores(model)
    for fold in range(len(model.networks_)):
        model.module(fold)


def _require_scores(model: ImageClassifier) -> None:
    """Make sure that what was only noted is of the kinds that it was written in."""
    fit = {
        "fold_scores_": _all(model.fold_scores_, lambda score: isinstance(score, dict)),
        "oof_macro_f1_": isinstance(model.oof_macro_f1_, float),
        "oof_accuracy_": isinstance(model.oof_accuracy_, float),
        "left_out_": _all(model.left_out_, lambda pair: _all(pair, _is_text) and len(pair) == 2),
        "trained_on_": _all(model.trained_on_, lambda digest: _is_text(digest) and _SHA256.fullmatch(digest)),
        "notes_": _all(model.notes_, _is_text),
    }
    if unfit := [name for name, fits in fit.items() if not fits]:
        raise ValueError(f"{unfit[0]} is not what is written there")


def _all(values: Any, fits: Callable[[Any], object]) -> bool:
    return isinstance(values, list) and all(map(fits, values))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
