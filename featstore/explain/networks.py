"""Explanations of fine-tuned networks: Grad-CAM at the last stage, on the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.cnn import ImageClassifier
from featstore.cnn.networks import last_stage
from featstore.cnn.pictures import Framing, framed, tissue_of
from featstore.errors import SettingError
from featstore.explain.explanation import Explanation, Heatmap
from featstore.explain.gradcam import grad_cam
from featstore.explain.picture import Picture
from featstore.explain.store_models import View
from featstore.toolkit.logits import softmax

__all__ = ["NetworkExplainer"]


class NetworkExplainer:
    """Explains what fine-tuned networks say of images.

    Parameters
    ----------
    model : ImageClassifier
        Fitted.
    name : str
        What people call it.
    """

    def __init__(self, model: ImageClassifier, name: str = "model") -> None:
        self.model, self.name = model, name

    def explain(
        self, picture: Picture, label: str | None = None, views: Sequence[View] = ("grad-cam",)
    ) -> list[Explanation]:
        """Explain one class of one image.

        Parameters
        ----------
        picture : Picture
        label : str, optional
            The class; the predicted one by default.
        views : sequence of {"grad-cam", "rollout"}
            Without ``grad-cam`` there is no heatmap: a convolutional network has no attention to roll out.

        Returns
        -------
        list of Explanation
            One: the mean over the folds' networks of Grad-CAM at the last stage of each.

        Raises
        ------
        SettingError
            If there is no such class.
        """
        model, classes = self.model, self.model.classes_.tolist()
        if label is not None and label not in classes:
            raise SettingError(
                f"{self.name} knows no class {label!r}", expected=f"one of {', '.join(map(repr, classes))}"
            )
        pixels, framing = framed(picture.pixels, tissue_of(picture.pixels, picture.mask), model.network_.side_px)
        modules = [model.module(fold) for fold in range(len(model.networks_))]
        inputs = model.input_of(pixels[None])
        probabilities = _probabilities(modules, model.temperatures_, inputs)
        target = int(probabilities.argmax()) if label is None else classes.index(label)
        plain = Explanation(
            system=self.name,
            label=classes[target],
            probability=float(probabilities[target]),
            probabilities=dict(zip(classes, probabilities.tolist(), strict=True)),
        )
        if "grad-cam" not in views:
            return [replace(plain, notes=("a convolutional network has no attention to roll out",))]
        maps = [grad_cam(module, last_stage(module), inputs, target)[0] for module in modules]
        heatmap = _on_image(np.mean(maps, axis=0), framing)
        notes = () if heatmap.any() else ("nothing in the last stage speaks for the class: the map is empty",)
        return [replace(plain, method="Grad-CAM at the last stage", heatmap=heatmap, notes=notes)]


def _probabilities(modules: Sequence[Any], temperatures: Sequence[float], inputs: Any) -> NDArray[np.float64]:
    import torch

    with torch.inference_mode():
        logits = [module(inputs).double().numpy()[0] for module in modules]
    each = [softmax(some / temperature) for some, temperature in zip(logits, temperatures, strict=True)]
    return np.asarray(np.mean(each, axis=0))


def _on_image(heat: NDArray[np.float32], framing: Framing) -> Heatmap:
    """Bring a map of the network's picture to the image that it framed."""
    whole = cv2.resize(heat, (framing.side_px, framing.side_px), interpolation=cv2.INTER_LINEAR)
    inside = whole[framing.top : framing.bottom, framing.left : framing.right]
    size = (framing.width_px, framing.height_px)
    return np.asarray(np.maximum(cv2.resize(inside, size, interpolation=cv2.INTER_LINEAR), 0), np.float32)
