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
from featstore.explain.explanation import Explanation, Heatmap, position_of
from featstore.explain.gradcam import grad_cam
from featstore.explain.picture import Picture
from featstore.explain.store_models import View
from featstore.toolkit.logits import softmax

__all__ = ["NetworkExplainer"]

_SEEN = "a training image: the networks were fitted on it, or stopped by it"


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
        self.classes = [str(each) for each in model.classes_]
        self.modules = [model.module(fold) for fold in range(len(model.networks_))]

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
            One: the mean over the folds' networks of Grad-CAM at the last stage of each, of calibrated logits. A
            network whose last stage is no map of channels, such as a transformer, has no heatmap, and a note.

        Raises
        ------
        SettingError
            If there is no such class.
        """
        model, classes, modules = self.model, self.classes, self.modules
        pixels, framing = framed(picture.pixels, tissue_of(picture.pixels, picture.mask), model.network_.side_px)
        inputs = model.input_of(pixels[None])
        probabilities = _probabilities(modules, model.temperatures_, inputs)
        target = int(probabilities.argmax()) if label is None else position_of(label, classes, self.name)
        plain = Explanation(
            system=self.name,
            label=classes[target],
            probability=float(probabilities[target]),
            probabilities=dict(zip(classes, probabilities.tolist(), strict=True)),
            notes=(_SEEN,) if picture.sha256 in model.trained_on_ else (),
        )
        if "grad-cam" not in views:
            return [replace(plain, notes=(*plain.notes, "a convolutional network has no attention to roll out"))]
        if not _has_map(modules[0], inputs):
            why_not = f"no heatmap: the last stage of {model.network_.name} is no map of channels"
            return [replace(plain, notes=(*plain.notes, why_not))]
        maps = [
            grad_cam(module, last_stage(module), inputs, target)[0] / temperature
            for module, temperature in zip(modules, model.temperatures_, strict=True)
        ]
        heatmap = _on_image(np.mean(maps, axis=0).astype(np.float32), framing)
        notes = () if heatmap.any() else ("nothing in the last stage speaks for the class: the map is empty",)
        notes = (*plain.notes, *notes)
        return [replace(plain, method="Grad-CAM at the last stage", heatmap=heatmap, notes=notes)]


def _has_map(module: Any, inputs: Any) -> bool:
    """Whether the last stage answers with (n, channels, height, width), as convolutions do."""
    import torch

    stage, shapes = last_stage(module), list[tuple[int, ...]]()
    hook = stage.register_forward_hook(lambda _module, _inputs, found: shapes.append(tuple(found.shape)))
    try:
        with torch.inference_mode():
            module(inputs)
    finally:
        hook.remove()
    return len(shapes[0]) == 4 and shapes[0][1] == module.feature_info[-1]["num_chs"]


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
