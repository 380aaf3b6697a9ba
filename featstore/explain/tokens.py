"""Where in a crop: maps over the tokens of a frozen vision transformer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.encoders.running import RunningModel
from featstore.errors import EncoderError
from featstore.explain.timm_tokens import timm_layout
from featstore.explain.token_layout import Place, TokenLayout
from featstore.explain.transformers_tokens import transformers_layout
from featstore.extras import require_extra

__all__ = ["attention_rollout", "layout_of", "token_grad_cam"]

_LAYOUTS = {"transformers": transformers_layout, "timm": timm_layout}
"""By the library that the encoder is of."""

_AT_ONCE = 4


def layout_of(running: RunningModel) -> TokenLayout:
    """Tell where an encoder has its tokens.

    Raises
    ------
    EncoderError
        If it is no vision transformer, or one of another build than its library's usual ones.
    """
    return _LAYOUTS[running.library.name](running)


def token_grad_cam(
    running: RunningModel, prepared: NDArray[np.uint8], gradient: NDArray[np.float64], *, last: int | None = None
) -> NDArray[np.float32]:
    """Compute Grad-CAM over the patch tokens wherever they are read, and add these places up.

    A token's heat is the sum over channels of activation times gradient, negative sums cut off. Unlike in Grad-CAM for
    convolutions (`grad_cam`) gradients are not averaged over places before: that is HiResCAM (Draelos and Carin, 2020,
    arXiv:2011.08891). Every place of a convolution map is read by the same weights, whereas each token is read by as
    much as the CLS token attends to it; with the mean gradient the maps of a transformer point anywhere
    (``tests/benchmarks/planted.py``). The CLS token reads in every block, by attention, so every block counts: the
    tokens that enter its attention. Where the embedding is a mean of the patches' tokens, or has one in it, the last
    place is where this mean is taken: what a patch keeps to itself on the way there no attention has read.

    Parameters
    ----------
    running : RunningModel
        In float32.
    prepared : ndarray of shape (n, size, size, 3), uint8
        Crops as the encoder takes them.
    gradient : ndarray of shape (n, dim)
        Of what is explained, at the crops' embeddings: `score_and_gradient`.
    last : int, optional
        Only so many of the last places; all by default.

    Returns
    -------
    ndarray of shape (n, side, side), float32
        0 or more.

    Raises
    ------
    EncoderError
        If the encoder has no tokens that can be read: `layout_of`.
    MissingExtraError
        If captum is not installed.
    """
    torch = require_extra("torch", "explain", "heatmaps need")
    attr = require_extra("captum.attr", "explain", "heatmaps need")
    layout = layout_of(running)
    places = layout.places[-(last or 0) :]
    layers = [torch.nn.Identity() for _ in places]
    maps = []
    for start in range(0, len(prepared), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        weights = torch.from_numpy(gradient[part]).to(running.device, torch.float32)
        pixels = running.normalise(torch.from_numpy(np.ascontiguousarray(prepared[part])))

        def score(inputs: Any, weights: Any = weights) -> Any:
            embeddings = running.library.embed(running.model, inputs.detach()).float()
            return (embeddings * weights).sum(dim=1)

        with ExitStack() as stack:
            stack.enter_context(_frozen(running.model))
            stack.enter_context(torch.enable_grad())
            for place, layer in zip(places, layers, strict=True):
                stack.enter_context(_through(place, layer, layout.side))
            each = attr.LayerGradientXActivation(score, layers).attribute(pixels)
        maps.append(sum(one.sum(dim=1).relu() for one in each).detach().float().cpu().numpy())
    return np.concatenate(maps)


def attention_rollout(running: RunningModel, prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Follow attention from the embedding back to the patches (Abnar and Zuidema, 2020, arXiv:2005.00928).

    Heads are averaged, half of each block is its residual connection, and blocks are multiplied. It tells what the
    encoder looked at, for whatever class. It starts where the embedding is taken: at the CLS token; where it is the
    mean of CLS and distillation token, at either by half; where it is the mean of the patches' tokens, at all of them
    alike; where it is the CLS token and their mean, at either by half. Other embeddings are refused.

    Parameters
    ----------
    running : RunningModel
    prepared : ndarray of shape (n, size, size, 3), uint8

    Returns
    -------
    ndarray of shape (n, side, side), float32
        Shares of the attention, 0 or more.

    Raises
    ------
    EncoderError
        If the encoder has no tokens that can be read, pools or attends in a way that is not followed, or does not
        tell the attention of each block.
    """
    torch = require_extra("torch", "explain", "heatmaps need")
    layout = layout_of(running)
    if layout.no_rollout:
        raise EncoderError(layout.no_rollout)
    patches = layout.side * layout.side
    maps = []
    for crop in prepared:  # one at a time: a large model's attention to ten crops is half a gigabyte
        with torch.inference_mode():
            pixels = running.normalise(torch.from_numpy(np.ascontiguousarray(crop[None])))
            attentions = _attentions_of_all_blocks(running, layout, pixels)
            shares = torch.zeros_like(attentions[0][0, 0])
            shares[-patches:] = (1 - sum(layout.start)) / patches
            shares[: len(layout.start)] = shares.new_tensor(layout.start)
            for attention in reversed(attentions):
                shares = (shares @ attention[0] + shares) / 2
        maps.append(shares[-patches:].reshape(layout.side, layout.side).cpu().numpy())
    return np.stack(maps).astype(np.float32)


def _attentions_of_all_blocks(running: RunningModel, layout: TokenLayout, pixels: Any) -> Sequence[Any]:
    """Refuse a model that leaves a block out: the product of the others would be a map of another network."""
    given = layout.attentions(pixels)
    told = [attention for attention in given if attention is not None]
    blocks = sum(not place.leaving for place in layout.places)
    if not len(told) == len(given) == blocks:
        what = f"the attention of {len(told)} of its {blocks} blocks"
        raise EncoderError(f"{running.name} ({type(running.model).__name__}) tells {what}")
    return told


@contextmanager
def _through(place: Place, layer: Any, side: int) -> Iterator[None]:
    """Send the patch tokens at a place through a layer, as a map (n, dim, side, side); the others go past it.

    Gradients go back to the first such map and no further: what comes before it costs no memory. The patches are the
    last tokens: CLS, and register or distillation tokens where there are any, come before them.
    """

    def enter(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if arguments:
            return (_sent(arguments[0], layer, side), *arguments[1:]), named
        return arguments, {**named, "hidden_states": _sent(named["hidden_states"], layer, side)}

    if place.leaving:
        hook = place.module.register_forward_hook(lambda _module, _given, tokens: _sent(tokens, layer, side))
    else:
        hook = place.module.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _sent(tokens: Any, layer: Any, side: int) -> Any:
    torch = require_extra("torch", "explain", "heatmaps need")
    others, patches = tokens[:, : -side * side], tokens[:, -side * side :]
    patches = patches if patches.requires_grad else patches.detach().requires_grad_()
    grid = layer(patches.transpose(1, 2).unflatten(2, (side, side)))
    return torch.cat([others, grid.flatten(2).transpose(1, 2)], dim=1)


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
