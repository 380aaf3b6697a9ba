"""The three fine-tuned systems that the store's models are compared with, as presets of one classifier."""

from __future__ import annotations

from typing import Any

from featstore.cnn.classifier import ImageClassifier

__all__ = ["PRESETS", "m1", "m2", "m3"]


def m1(random_state: Any = None, **settings: Any) -> ImageClassifier:
    """Return M1: InceptionV3 (Szegedy et al., 2016, arXiv:1512.00567), one stratified hold-out.

    The classifier on top learns alone for three epochs, then all of the network at a tenth of its rate.

    Parameters
    ----------
    random_state : int, RandomState or None
    **settings
        Of `ImageClassifier`, instead of the preset's.

    Returns
    -------
    ImageClassifier
    """
    preset = {"frozen_epochs": 3, "augmentation": "light", "n_splits": 1}
    return ImageClassifier("inception_v3.tv_in1k", random_state=random_state, **{**preset, **settings})


def m2(random_state: Any = None, **settings: Any) -> ImageClassifier:
    """Return M2: EfficientNet-B0 (Tan and Le, 2019, arXiv:1905.11946), stronger augmentation, five folds' ensemble.

    Parameters and result as `m1` has them.
    """
    preset = {"augmentation": "strong", "n_splits": 5}
    return ImageClassifier("efficientnet_b0.ra_in1k", random_state=random_state, **{**preset, **settings})


def m3(random_state: Any = None, **settings: Any) -> ImageClassifier:
    """Return M3: EfficientNet-B1, warm-up and cosine rate, balanced sampling, temperature scaling, five folds.

    Parameters and result as `m1` has them.
    """
    preset = {
        "augmentation": "strong",
        "sampling": "balanced",
        "schedule": "cosine",
        "warmup_epochs": 3,
        "label_smoothing": 0.1,
        "calibrate": True,
        "n_splits": 5,
    }
    return ImageClassifier("efficientnet_b1.ra4_e3600_r240_in1k", random_state=random_state, **{**preset, **settings})


PRESETS = {"m1": m1, "m2": m2, "m3": m3}
