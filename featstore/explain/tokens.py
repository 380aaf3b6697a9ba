"""Where in a crop: maps over the tokens of a frozen vision transformer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.encoders.checkpoints import run_model
from featstore.encoders.running import RunningModel
from featstore.errors import EncoderError
from featstore.extras import require_extra

__all__ = ["attention_rollout", "blocks_of", "grid_side", "token_grad_cam"]

_AT_ONCE = 4


def grid_side(running: RunningModel) -> int:
    """Tell how many tokens there are along a side of the input.

    Raises
    ------
    EncoderError
        If the configuration does not say.
    """
    patch = getattr(running.model.config, "patch_size", None)
    patch = patch[0] if isinstance(patch, list | tuple) and patch else patch
    if not isinstance(patch, int) or patch < 1:
        raise EncoderError(
            f"{running.name} ({type(running.model).__name__}) does not say how large a patch is",
            expected="patch_size in its configuration",
        )
    return int(running.processor.size_px) // patch


def blocks_of(running: RunningModel) -> list[Any]:
    """Return the transformer's blocks in order: the list of as many modules as the configuration has layers.

    Raises
    ------
    EncoderError
        If there is none.
    """
    torch = require_extra("torch", "explain", "heatmaps need")
    wanted = getattr(running.model.config, "num_hidden_layers", None)
    for module in running.model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted:
            return list(module)
    raise EncoderError(
        f"the blocks of {running.name} ({type(running.model).__name__}) can't be told",
        expected="a list of num_hidden_layers modules, as in ViT, DeiT, DINOv2 and Phikon-v2",
    )


def token_grad_cam(
    running: RunningModel, prepared: NDArray[np.uint8], gradient: NDArray[np.float64], *, blocks: int | None = None
) -> NDArray[np.float32]:
    """Compute Grad-CAM over the patch tokens that enter the attention of each block, and add the blocks up.

    A token's heat is the sum over channels of activation times gradient, negative sums cut off. Unlike in Grad-CAM for
    convolutions (`grad_cam`) gradients are not averaged over places before: that is HiResCAM (Draelos and Carin, 2020,
    arXiv:2011.08891). Every place of a convolution map is read by the same weights, whereas each token is read by as
    much as the CLS token attends to it; with the mean gradient the maps of a transformer point anywhere
    (``tests/benchmarks/planted.py``). The CLS token reads in every block, so every block counts.

    Parameters
    ----------
    running : RunningModel
        In float32.
    prepared : ndarray of shape (n, size, size, 3), uint8
        Crops as the encoder takes them.
    gradient : ndarray of shape (n, dim)
        Of what is explained, at the crops' embeddings: `score_and_gradient`.
    blocks : int, optional
        Only so many of the last blocks; all by default.

    Returns
    -------
    ndarray of shape (n, side, side), float32
        0 or more.

    Raises
    ------
    EncoderError
        If the model is built otherwise than vision transformers of Hugging Face are.
    MissingExtraError
        If captum is not installed.
    """
    torch = require_extra("torch", "explain", "heatmaps need")
    attr = require_extra("captum.attr", "explain", "heatmaps need")
    side = grid_side(running)
    entered = [_attention_of(running, block) for block in blocks_of(running)][-(blocks or 0) :]
    layers = [torch.nn.Identity() for _ in entered]
    maps = []
    for start in range(0, len(prepared), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        weights = torch.from_numpy(gradient[part]).to(running.device, torch.float32)
        pixels = running.normalise(torch.from_numpy(np.ascontiguousarray(prepared[part])))

        def score(inputs: Any, weights: Any = weights) -> Any:
            embeddings = run_model(running.model, inputs.detach())[:, 0].float()
            return (embeddings * weights).sum(dim=1)

        with ExitStack() as stack:
            stack.enter_context(_frozen(running.model))
            stack.enter_context(torch.enable_grad())
            for module, layer in zip(entered, layers, strict=True):
                stack.enter_context(_through(module, layer, side))
            each = attr.LayerGradientXActivation(score, layers).attribute(pixels)
        maps.append(sum(one.sum(dim=1).relu() for one in each).detach().float().cpu().numpy())
    return np.concatenate(maps)


def attention_rollout(running: RunningModel, prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Follow attention from the CLS token back to the patches (Abnar and Zuidema, 2020, arXiv:2005.00928).

    Heads are averaged, half of each block is its residual connection, and blocks are multiplied. It tells what the
    encoder looked at, for whatever class.

    Parameters
    ----------
    running : RunningModel
    prepared : ndarray of shape (n, size, size, 3), uint8

    Returns
    -------
    ndarray of shape (n, side, side), float32
        Shares of the CLS token's attention, 0 or more.

    Raises
    ------
    EncoderError
        If the model does not tell its attention.
    """
    torch = require_extra("torch", "explain", "heatmaps need")
    side = grid_side(running)
    maps = []
    with _eager(running.model), torch.inference_mode():
        for crop in prepared:  # one at a time: a large model's attention to ten crops is half a gigabyte
            pixels = running.normalise(torch.from_numpy(np.ascontiguousarray(crop[None])))
            attentions = run_model(running.model, pixels, attentions=True)
            if not attentions or attentions[0] is None:
                raise EncoderError(f"{running.name} ({type(running.model).__name__}) does not tell its attention")
            rolled = torch.eye(attentions[0].shape[-1], device=running.device)
            for attention in attentions:
                mean = attention[0].float().mean(dim=0)
                rolled = (mean + torch.eye(len(mean), device=running.device)) / 2 @ rolled
            maps.append(rolled[0, -side * side :].reshape(side, side).cpu().numpy())
    return np.stack(maps).astype(np.float32)


def _attention_of(running: RunningModel, block: Any) -> Any:
    """Return the part of a block that attends: normalised tokens enter it."""
    for name, module in block.named_children():
        if "att" in name:
            return module
    raise EncoderError(
        f"the attention of {running.name} ({type(running.model).__name__}) can't be told",
        expected="a part of each block that is called attention or self_attn",
    )


@contextmanager
def _through(module: Any, layer: Any, side: int) -> Iterator[None]:
    """Send the patch tokens that enter a module through a layer, as a map (n, dim, side, side); the rest goes past it.

    Gradients go back to the first such map and no further: what comes before it costs no memory. The patches are the
    last tokens: CLS, and register or distillation tokens where there are any, come before them.
    """

    def enter(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        torch = require_extra("torch", "explain", "heatmaps need")
        hidden = arguments[0] if arguments else named["hidden_states"]
        others, patches = hidden[:, : -side * side], hidden[:, -side * side :]
        patches = patches if patches.requires_grad else patches.detach().requires_grad_()
        grid = layer(patches.transpose(1, 2).unflatten(2, (side, side)))
        tokens = torch.cat([others, grid.flatten(2).transpose(1, 2)], dim=1)
        if arguments:
            return (tokens, *arguments[1:]), named
        return arguments, {**named, "hidden_states": tokens}

    hook = module.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """Keep the model's own parameters out of the gradient: only the blocks behind the tokens cost memory then."""
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in free:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in free:
            parameter.requires_grad_(True)


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Let the model compute attention in the one way that keeps it."""
    before = getattr(model.config, "_attn_implementation", None)
    if before in (None, "eager") or not hasattr(model, "set_attn_implementation"):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
