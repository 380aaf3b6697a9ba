"""Grad-CAM: where in an activation map the evidence for a class lies (Selvaraju et al., 2017, arXiv:1610.02391)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.extras import require_extra

__all__ = ["grad_cam", "left_as_found"]


def grad_cam(
    network: Callable[[Any], Any], layer: Any, inputs: Any, target: int | Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Compute Grad-CAM at a layer: channels weighted by their mean gradient, summed, negative sums cut off.

    Parameters
    ----------
    network : torch.nn.Module or callable
        Takes ``inputs`` and returns logits of shape (n, n_classes), or one number a row. A module is put into
        evaluation mode and left as it was found.
    layer : torch.nn.Module
        Part of it; answers with (n, channels, height, width).
    inputs : torch.Tensor of shape (n, ...)
        On the network's device.
    target : int or sequence of int, optional
        Position of the class, one for all rows or one for each; None where the network returns one number a row.

    Returns
    -------
    ndarray of shape (n, height, width), float32
        Of the layer's height and width; 0 or more.

    Raises
    ------
    MissingExtraError
        If captum is not installed.
    """
    torch = require_extra("torch", "explain", "heatmaps need")
    attr = require_extra("captum.attr", "explain", "heatmaps need")
    wanted = target if target is None or isinstance(target, int) else list(target)
    with left_as_found(network), torch.enable_grad():
        maps = attr.LayerGradCam(network, layer).attribute(inputs, target=wanted, relu_attributions=True)
    heat: NDArray[np.float32] = maps[:, 0].detach().float().cpu().numpy()
    return heat


@contextmanager
def left_as_found(network: Any) -> Iterator[None]:
    """Put a module into evaluation mode, and every part of it back into its own mode at the end."""
    modules = list(network.modules()) if hasattr(network, "modules") else []
    modes = [module.training for module in modules]
    try:
        if modules:
            network.eval()
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
