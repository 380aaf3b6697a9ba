"""One network a fold: which images validate it, training it here or in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from joblib import delayed
from numpy.typing import NDArray
from sklearn.utils.validation import column_or_1d

from featstore.cnn.batches import key_of
from featstore.cnn.pictures import Pictures
from featstore.cnn.predicting import logits_of_state
from featstore.cnn.settings import Settings
from featstore.cnn.steps import Part
from featstore.cnn.training import Epoch, train_network
from featstore.errors import LabelError
from featstore.store.images import ImageRow, twin_groups
from featstore.toolkit.ensemble import scores_of
from featstore.toolkit.inputs import require
from featstore.toolkit.logits import softmax
from featstore.toolkit.presets import FOLD_TEMPERATURES
from featstore.toolkit.splits import assign_folds, hold_out
from featstore.toolkit.temperature import fit_temperature
from featstore.toolkit.threads import side_by_side

__all__ = ["How", "Place", "Progress", "assign", "choose_precision", "groups_together", "judge", "train_folds"]


@dataclass(frozen=True)
class Progress:
    """How far a fit is: ``epoch`` of at most ``epochs``, of network ``fold`` of ``folds``; all from 1."""

    fold: int
    folds: int
    epoch: int
    epochs: int
    validation_loss: float


@dataclass(frozen=True)
class How:
    """What decides nothing but where and how fast networks are trained, and where checkpoints go."""

    device: str
    precision: str
    checkpoints: Path | None
    max_epochs: int


@dataclass(frozen=True, eq=False)
class Place:
    """The images of one fold's network."""

    images: Part
    kept: NDArray[np.bool_]
    folds: NDArray[np.intp]
    fold: int

    @property
    def validating(self) -> NDArray[np.bool_]:
        """Which images validate, of shape (n_images,)."""
        chosen: NDArray[np.bool_] = self.folds == self.fold
        return chosen

    @cached_property
    def training(self) -> Part:
        """Pictures that are trained on."""
        return self._part(self.kept & ~self.validating)

    @cached_property
    def validation(self) -> Part:
        """Pictures that are not."""
        return self._part(self.validating)

    def _part(self, chosen: NDArray[np.bool_]) -> Part:
        places = np.flatnonzero(chosen)
        return Part(self.images.pixels[places], [self.images.digests[i] for i in places], self.images.codes[places])


@dataclass(frozen=True, eq=False)
class Fold:
    """A network that is trained: its weights, and its logits on the images that validate it."""

    state: dict[str, NDArray[Any]]
    logits: NDArray[np.float64]
    best_epoch: int
    epochs: int
    notes: list[str]


def judge(done: Fold, place: Place, *, calibrate: bool) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return a network's probabilities for the images that validate it, and its scores: `fold_scores_` has them."""
    codes = place.validation.codes
    temperature = fit_temperature(done.logits, codes, FOLD_TEMPERATURES) if calibrate else 1.0
    probabilities = softmax(done.logits / temperature)
    macro_f1, accuracy = scores_of(codes, probabilities.argmax(axis=1))
    score = {"fold": place.fold, "val_macro_f1": macro_f1, "val_accuracy": accuracy, "temperature": temperature}
    return probabilities, {**score, "best_epoch": done.best_epoch, "epochs": done.epochs}


def groups_together(pictures: Pictures, groups: Any = None) -> NDArray[np.str_]:
    """Put images together that share a group, here or in their rows, a file or a mask.

    Parameters
    ----------
    pictures : Pictures
    groups : array-like of shape (n_images,), optional
        On top of those of the rows.

    Returns
    -------
    ndarray of shape (n_images,), str
    """
    found = _together(
        pictures.groups, [content for content, _ in pictures.traits], [mask for _, mask in pictures.traits]
    )
    if groups is None:
        return found
    given = column_or_1d(groups)
    if len(given) != len(found):
        raise LabelError(f"{len(given)} groups for {len(found)} images", expected="one group an image")
    return _together([str(group) for group in given], found.tolist(), [""] * len(found))


def _together(groups: Sequence[str], contents: Sequence[str], masks: Sequence[str]) -> NDArray[np.str_]:
    rows = [
        ImageRow(image=f"{place:09d}", group=group, sha256=content, mask_sha256=mask, source="mask" if mask else "")
        for place, (group, content, mask) in enumerate(zip(groups, contents, masks, strict=True))
    ]
    found = twin_groups(rows)
    return np.array([found[row.image] for row in rows])


def assign(
    y: NDArray[Any], groups: NDArray[Any], n_splits: int, fraction: float, random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Return the fold whose network an image validates; with one network 0 for those held out, -1 for the others.

    Raises
    ------
    LabelError
        If a class has too few images (groups).
    """
    if n_splits > 1:
        return assign_folds(y, groups, n_splits, random_state)
    held = hold_out(y, groups, fraction, random_state)
    if held is None:
        raise LabelError(
            "a class has fewer than four images (groups), or its groups can't be parted",
            expected="four or more of each class, so that some can be held out",
            remedy="Label more images of it, or leave the class out.",
        )
    return np.where(held, 0, -1)


def choose_precision(wanted: str, device: str) -> str:
    """Return the arithmetic of training: on CUDA half precision unless another is asked for, else float32."""
    import torch

    require(
        (wanted, device) != ("float16", "mps"),
        "float16 is not trained in on Apple silicon",
        "auto, float32 or bfloat16",
    )
    if wanted != "auto":
        return wanted
    if not device.startswith("cuda"):
        return "float32"
    with torch.cuda.device(device):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def train_folds(
    settings: Sequence[Settings],
    places: Sequence[Place],
    how: How,
    n_jobs: int | None,
    callback: Callable[[Progress], object] | None,
) -> Iterator[Fold]:
    """Train the networks, and yield each in its order as soon as it is there."""
    alone = n_jobs in (None, 1) or len(places) == 1
    tell = [_told(callback, place.fold, len(places), how.max_epochs) for place in places]
    if alone:
        for each, place, told in zip(settings, places, tell, strict=True):
            yield _train_fold(each, place, how, told)
        return
    tasks = [delayed(_train_fold)(each, place, how, None) for each, place in zip(settings, places, strict=True)]
    for told, done in zip(tell, side_by_side(tasks, n_jobs), strict=True):
        if told is not None:
            told(Epoch(how.max_epochs, np.nan, np.nan, np.nan))
        yield done


def _told(
    callback: Callable[[Progress], object] | None, fold: int, folds: int, epochs: int
) -> Callable[[Epoch], object] | None:
    if callback is None:
        return None
    return lambda found: callback(Progress(fold + 1, folds, found.epoch, epochs, found.validation_loss))


def _train_fold(settings: Settings, place: Place, how: How, callback: Callable[[Epoch], object] | None) -> Fold:
    training, validation, n_classes = place.training, place.validation, int(place.images.codes.max()) + 1
    done = train_network(
        settings,
        training,
        validation,
        n_classes,
        device=how.device,
        precision=how.precision,
        checkpoint=_path(how.checkpoints, place, settings),
        callback=callback,
    )
    state = {name: tensor.numpy() for name, tensor in done.state.items()}
    logits = logits_of_state(settings, state, n_classes, validation.pixels, how.device)
    return Fold(state, logits, done.best_epoch, len(done.history), done.notes)


def _path(folder: Path | None, place: Place, settings: Settings) -> Path | None:
    """Name a checkpoint by what it is trained on: one folder holds those of many fits."""
    if folder is None:
        return None
    rows = zip(
        place.images.digests, place.images.codes.tolist(), place.folds.tolist(), place.kept.tolist(), strict=True
    )
    key = key_of(settings.network.name, settings.seed, *[row for row in rows if row[-1]])
    return folder / f"{settings.network.name.partition('.')[0]}-{key:016x}-fold-{place.fold + 1}.safetensors"
