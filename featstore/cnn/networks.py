"""timm's networks: found by name, with pretrained weights from the hub or a folder, and a channel for the mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featstore.encoders.hub import find_snapshot
from featstore.encoders.timm_names import HUB_ID, SCHEME, require_timm, resolve_timm
from featstore.encoders.timm_network import fill_network
from featstore.encoders.weights import CONFIG, digest_weights, find_weights, read_json
from featstore.errors import EncoderError, SettingError, WeightsNotFoundError

__all__ = ["Network", "build", "find_network", "last_stage", "normalised"]

SMALLEST_PX = 32
"""Below this, networks that halve the picture five times have nothing left to pool."""


@dataclass(frozen=True)
class Network:
    """What is needed to build a network, in any process.

    Attributes
    ----------
    name : str
        timm's, with the tag of its weights: ``efficientnet_b0.ra_in1k``.
    side_px : int
        Of the square pictures that it takes.
    mean, std : tuple of 3 floats
        Of RGB from 0 to 1, as it was pretrained.
    folder : Path or None
        Where its weights are; None to start from scratch.
    digest : str
        SHA-256 of the weights; empty from scratch.
    """

    name: str
    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    folder: Path | None
    digest: str


def find_network(
    name: str, *, weights: Path | str | None = None, from_scratch: bool = False, side_px: int | None = None
) -> Network:
    """Find a network and its weights; builds nothing yet.

    Parameters
    ----------
    name : str
        Of a timm model, mostly with the tag of its pretrained weights.
    weights : Path or str, optional
        A folder with config.json and model.safetensors, as the hub has it; the hub is then left alone.
    from_scratch : bool
        Start from random weights.
    side_px : int, optional
        Side of the pictures; that of pretraining by default.

    Raises
    ------
    SettingError
        If timm has no such network, or both weights and a start from scratch are asked for.
    WeightsNotFoundError
        If the weights are neither here nor to be had.
    MissingExtraError
        If timm is not installed.
    """
    if weights is not None and from_scratch:
        raise SettingError("both weights and a start from scratch are asked for", expected="one of them")
    if HUB_ID.fullmatch(name):
        raise SettingError(f"{name} is a place on the hub", expected="timm's own name, such as efficientnet_b0.ra_in1k")
    _, hub_id = resolve_timm(f"{SCHEME}{name}")
    config = require_timm().get_pretrained_cfg(name)
    side = config.input_size[-1] if side_px is None else side_px
    if side < SMALLEST_PX:
        raise SettingError(f"pictures of {side} px", expected=f"{SMALLEST_PX} px or more")
    folder = None
    if not from_scratch:
        folder = Path(weights) if weights is not None else _fetch(hub_id)
    digest = digest_weights(find_weights(folder)) if folder else ""
    return Network(name, side, tuple(config.mean), tuple(config.std), folder, digest)


def _fetch(hub_id: str) -> Path:
    try:
        return find_snapshot(hub_id).folder
    except WeightsNotFoundError as error:
        raise WeightsNotFoundError(
            error.found,
            remedy="Pass --weights DIR, a folder with its config.json and model.safetensors; "
            "or --from-scratch to start from random weights, which small datasets seldom learn much with.",
        ) from error


def build(network: Network, n_classes: int, *, use_mask: bool, dropout: float) -> Any:
    """Build a network, from its weights where it has some, else from torch's random numbers as they stand.

    RGB keeps the pretrained weights of the first convolution. The mask's start at zero: the network begins as it was
    pretrained, and learns from the mask what helps.

    Returns
    -------
    torch.nn.Module
        Of ``(n, 4 or 3, side, side)`` to logits ``(n, n_classes)``; on the CPU, in float32.

    Raises
    ------
    EncoderError
        If the weights are not those of the network.
    """
    architecture = network.name.partition(".")[0]
    module = require_timm().create_model(architecture, pretrained=False, num_classes=n_classes, drop_rate=dropout)
    if network.folder is not None:
        _require_named(architecture, network.folder)
        fill_network(module, network.name, network.folder)
    if use_mask:
        _widen(module, from_scratch=network.folder is None)
    _try(module, network, use_mask=use_mask)
    return module


def _require_named(architecture: str, folder: Path) -> None:
    """Refuse a folder whose config.json names another network; it need not name any."""
    named = read_json(folder / CONFIG).get("architecture", architecture)
    if named != architecture:
        raise EncoderError(f"{folder} holds the weights of a {named}", expected=f"those of a {architecture}")


def _try(module: Any, network: Network, *, use_mask: bool) -> None:
    """Make sure that pictures of this size pass through."""
    import torch

    module.eval()
    try:
        with torch.no_grad():
            module(torch.zeros(1, 4 if use_mask else 3, network.side_px, network.side_px))
    except (RuntimeError, AssertionError) as error:
        raise SettingError(
            f"{network.name} can't take pictures of {network.side_px} px", expected="a larger --image-size"
        ) from error


def _widen(module: Any, *, from_scratch: bool) -> None:
    """Give the first convolution a fourth channel."""
    import torch

    found = module.pretrained_cfg["first_conv"]
    (name,) = [found] if isinstance(found, str) else found
    holder, _, last = name.rpartition(".")
    parent = module.get_submodule(holder)
    old = getattr(parent, last)
    weight = old.weight.detach()
    mask = weight.mean(1, keepdim=True) if from_scratch else torch.zeros_like(weight[:, :1])
    old.weight = torch.nn.Parameter(torch.cat([weight, mask], dim=1))
    old.in_channels = 4


def normalised(network: Network, pixels: Any, *, use_mask: bool) -> Any:
    """Turn pictures (n, 4, side, side) from 0 to 1 into what the network takes; the mask becomes -1 and 1."""
    import torch

    mean, std = (
        torch.tensor(values, device=pixels.device).view(1, -1, 1, 1)
        for values in ((*network.mean, 0.5), (*network.std, 0.5))
    )
    scaled = (pixels - mean) / std
    return scaled if use_mask else scaled[:, :3]


def last_stage(module: Any) -> Any:
    """Return the layer with the network's last map, which Grad-CAM looks at."""
    return module.get_submodule(module.feature_info[-1]["module"])
