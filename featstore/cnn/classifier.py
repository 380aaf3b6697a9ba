"""A scikit-learn classifier of images: a network of timm's, fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from featstore.cnn.checks import check_settings, encode_kept, require_classes
from featstore.cnn.folds import How, Place, Progress, assign, choose_precision, groups_together, judge, train_folds
from featstore.cnn.networks import Network, find_network
from featstore.cnn.pictures import Image, load_pictures
from featstore.cnn.predicting import input_of, logits_of_state, module_of
from featstore.cnn.settings import settings_of
from featstore.cnn.steps import Part
from featstore.encoders.device import resolve_device
from featstore.toolkit.ensemble import scores_of
from featstore.toolkit.inputs import check_labels
from featstore.toolkit.logits import softmax

__all__ = ["ImageClassifier"]


@dataclass(eq=False, repr=False)  # its __init__ only assigns, as scikit-learn wants it
class ImageClassifier(ClassifierMixin, BaseEstimator):
    """A convolutional network, fine-tuned on whole images with the mask as a fourth channel.

    An image is shrunk to the network's own square size, proportions kept. Results are a function of the images and
    ``random_state`` on a CPU, where each network is trained on one core; on a GPU the last bits of sums may differ.

    Parameters
    ----------
    network : str, default="efficientnet_b0.ra_in1k"
        Of timm, with the tag of its pretrained weights.
    weights : str or Path, optional
        A folder with config.json and model.safetensors to start from; by default the hub's, or its cache's.
    from_scratch : bool, default=False
        Start from random weights.
    use_mask : bool, default=True
        Whether the network sees the mask (tissue found on the image, where it has none) as a fourth channel. The
        first convolution keeps its pretrained weights for RGB, those of the mask start at zero.
    image_size : int, optional
        Side of the square pictures in pixels; that of pretraining by default.
    clean : bool, default=True
        Leave images out of training whose tissue is green, brown or yellow; see `left_out_`.
    n_splits : int, default=1
        Folds, and so networks, whose probabilities are averaged. With 1 there is one network, and
        ``validation_fraction`` of the images are held out.
    validation_fraction : float, default=0.2
        Stratified, groups together.
    augmentation : {"none", "light", "strong"}, default="light"
    sampling : {"shuffled", "balanced"}, default="shuffled"
        Whether an epoch shows each image once, or each class equally often.
    lr : float, default=1e-3
        Of AdamW, for the classifier on top.
    body_lr : float, default=0.1
        Share of it for everything below, which was pretrained; 1 is apt from scratch.
    frozen_epochs : int, default=0
        So many epochs at first train the classifier on top alone.
    warmup_epochs : int, default=0
        Over so many the learning rate rises from 0.
    schedule : {"constant", "cosine"}, default="constant"
        What it does afterwards: stay, or fall to 0 at ``max_epochs``.
    weight_decay : float, default=1e-2
    dropout : float, default=0.2
        Before the classifier on top.
    label_smoothing : float, default=0.0
    batch_size : int, default=32
        If memory is short for so many at a time, gradients of fewer are added up.
    max_epochs : int, default=30
    patience : int, default=8
        Stop after so many epochs without a better validation log-loss, and keep the best epoch's network.
    calibrate : bool, default=False
        Scale each network's logits by a temperature chosen on its validation part.
    device : str, default="auto"
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Of training's arithmetic; ``auto`` is half precision on CUDA, else float32. Predictions are made in float32,
        or in what a GPU takes for that (TF32).
    checkpoints : str or Path, optional
        A folder; a fit that was killed goes on from there when it is run again with the same images and settings. One
        of other settings on these images is refused. Needs an int as ``random_state``.
    n_jobs : int or None
        Networks trained at a time, each in a process of its own.
    random_state : int, RandomState or None

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    class_prior_ : ndarray of shape (n_classes,)
    networks_ : list of dict of str to ndarray
        The weights of each fold's network.
    network_ : Network
    settings_ : Settings
    temperatures_ : list of float
    folds_ : ndarray of shape (n_images,), int
        Fold whose validation part an image belongs to; -1 for those in none.
    oof_probabilities_ : ndarray of shape (n_images, n_classes)
        Of each image by the network that was not trained on it; NaN for those in no validation part.
    fold_scores_ : list of dict
        ``fold``, ``val_macro_f1``, ``val_accuracy``, ``temperature``, ``best_epoch``, ``epochs``.
    oof_macro_f1_, oof_accuracy_ : float
        Of all validation parts together. Early stopping saw them: somewhat optimistic.
    left_out_ : list of (str, str)
        Images that were not trained on, and why.
    trained_on_ : list of str
        SHA-256 of the files of all others.
    notes_ : list of str
        What the user should hear of.
    """

    network: str = "efficientnet_b0.ra_in1k"
    _: KW_ONLY
    weights: str | Path | None = None
    from_scratch: bool = False
    use_mask: bool = True
    image_size: int | None = None
    clean: bool = True
    n_splits: int = 1
    validation_fraction: float = 0.2
    augmentation: str = "light"
    sampling: str = "shuffled"
    lr: float = 1e-3
    body_lr: float = 0.1
    frozen_epochs: int = 0
    warmup_epochs: int = 0
    schedule: str = "constant"
    weight_decay: float = 1e-2
    dropout: float = 0.2
    label_smoothing: float = 0.0
    batch_size: int = 32
    max_epochs: int = 30
    patience: int = 8
    calibrate: bool = False
    device: str = "auto"
    precision: str = "auto"
    checkpoints: str | Path | None = None
    n_jobs: int | None = None
    random_state: Any = None

    def fit(
        self,
        X: Sequence[Image],
        y: Any,
        groups: Any = None,
        callback: Callable[[Progress], object] | None = None,
    ) -> ImageClassifier:
        """Train the networks.

        Parameters
        ----------
        X : sequence of ImageRecord, str or Path
            Rows of a dataset, or image files.
        y : array-like of shape (n_images,)
        groups : array-like of shape (n_images,), optional
            Images that stay in one fold, besides those that do anyway: of one group by their rows, identical ones, and
            ones with identical masks. For folds around this classifier see `image_groups`.
        callback : callable, optional
            Called with a `Progress` after each epoch, or where networks are trained side by side after each network.

        Returns
        -------
        self

        Raises
        ------
        ImageError
            If an image can't be read.
        LabelError
            If there are fewer than two classes, or too few images of one.
        WeightsNotFoundError
            If the pretrained weights are not to be had.
        TrainingError
            If the loss is no finite number, or memory is short.
        """
        check_settings(self)
        labels = check_labels(self, y, len(X))
        self.network_ = self.find()
        pictures = load_pictures(X, self.network_.side_px)
        self.settings_ = settings_of(self)
        self.notes_ = [pictures.note] if pictures.note else []
        kept = np.array([not (self.clean and why) for why in pictures.contaminated])
        self.left_out_ = [(n, w) for n, w, k in zip(pictures.names, pictures.contaminated, kept, strict=True) if not k]
        self.trained_on_ = [content for (content, _), k in zip(pictures.traits, kept, strict=True) if k]
        self.classes_, counts = require_classes(labels[kept])
        if lost := sorted(set(labels.tolist()) - set(self.classes_.tolist())):
            self.notes_.append(f"all images of class {lost[0]!r} are contaminated: it is not learnt")
        self.class_prior_ = counts / counts.sum()
        random_state = check_random_state(self.random_state)
        together = groups_together(pictures, groups)[kept]
        self.folds_ = np.full(len(labels), -1)
        self.folds_[kept] = assign(labels[kept], together, self.n_splits, self.validation_fraction, random_state)
        seed = int(random_state.randint(np.iinfo(np.int32).max))
        images = Part(pictures.pixels, pictures.digests, encode_kept(labels, kept, self.classes_))
        self._train(images, kept, seed, callback)
        return self

    def predict_proba(self, X: Sequence[Image]) -> NDArray[np.float64]:
        """Return probabilities of shape (n_images, n_classes): the mean over the networks."""
        check_is_fitted(self)
        pictures = load_pictures(X, self.network_.side_px)
        settings, device, n_classes = self.settings_, resolve_device(self.device), len(self.classes_)
        found = [
            softmax(logits_of_state(settings, state, n_classes, pictures.pixels, device) / temperature)
            for state, temperature in zip(self.networks_, self.temperatures_, strict=True)
        ]
        return np.asarray(np.mean(found, axis=0))

    def predict(self, X: Sequence[Image]) -> NDArray[Any]:
        """Return the class with the highest mean probability, of shape (n_images,)."""
        labels: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    def find(self) -> Network:
        """Find the network and its weights, which are downloaded if need be; ``fit`` does so first.

        Raises
        ------
        SettingError
            If there is no such network.
        WeightsNotFoundError
            If its pretrained weights are not to be had.
        """
        return find_network(self.network, weights=self.weights, from_scratch=self.from_scratch, side_px=self.image_size)

    def module(self, fold: int) -> Any:
        """Build the network of a fold, a `torch.nn.Module` on the CPU in evaluation mode; takes `input_of` pictures."""
        check_is_fitted(self)
        return module_of(self.settings_, self.networks_[fold], len(self.classes_))

    def input_of(self, pixels: NDArray[np.uint8]) -> Any:
        """Turn framed pictures (n, side, side, 4) into the tensor that the networks take."""
        check_is_fitted(self)
        return input_of(self.settings_, pixels, "cpu")

    def _train(
        self, images: Part, kept: NDArray[np.bool_], seed: int, callback: Callable[[Progress], object] | None
    ) -> None:
        """Train the networks, and note what they say of the images that validate."""
        device = resolve_device(self.device)
        places = [Place(images, kept, self.folds_, fold) for fold in range(self.n_splits)]
        folder = None if self.checkpoints is None else Path(self.checkpoints)
        how = How(device, choose_precision(self.precision, device), folder, self.max_epochs)
        self.networks_, self.temperatures_, self.fold_scores_ = [], [], []
        self.oof_probabilities_ = np.full((len(kept), len(self.classes_)), np.nan)
        settings = [replace(self.settings_, seed=seed + fold) for fold in range(self.n_splits)]
        for place, done in zip(places, train_folds(settings, places, how, self.n_jobs, callback), strict=True):
            self.oof_probabilities_[place.validating], score = judge(done, place, calibrate=self.calibrate)
            self.networks_.append(done.state)
            self.temperatures_.append(score["temperature"])
            self.fold_scores_.append(score)
            self.notes_ += [note for note in done.notes if note not in self.notes_]
        validated = self.folds_ >= 0
        predicted = self.oof_probabilities_[validated].argmax(axis=1)
        self.oof_macro_f1_, self.oof_accuracy_ = scores_of(images.codes[validated], predicted)
