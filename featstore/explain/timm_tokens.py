"""Where timm's vision transformers have their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from featstore.encoders.running import RunningModel
from featstore.errors import EncoderError
from featstore.explain.token_layout import Place, TokenLayout

__all__ = ["timm_layout"]

_STARTS = {"token": (1.0,), "distilled": (0.5, 0.5), "": (0.5,), "avg": ()}
"""By how the network pools. One that pools nothing is embedded as CLS token and mean: see `embedding_of`."""

_PLAIN = ("Attention", "AttentionRope", "EvaAttention")
"""Classes whose output is one softmax of each head times the values; by name, since timm moves them about."""


def timm_layout(running: RunningModel) -> TokenLayout:
    """Tell where the tokens are in a VisionTransformer, or in an Eva (EVA-02, DINOv3).

    Their tokens keep their places from block to block. Those of Swin are shifted and merged, Hiera's are sorted anew,
    and a convolutional network has none.

    Raises
    ------
    EncoderError
        If the network is of another class, or its blocks are of another build.
    """
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    model, size_px = running.model, running.processor.size_px
    if not isinstance(model, VisionTransformer | Eva):
        raise EncoderError(
            f"{running.name} is a {type(model).__name__} of timm's, which has no tokens that keep their places",
            expected="a VisionTransformer or an Eva",
        )
    rows, columns = model.patch_embed.dynamic_feat_size((size_px, size_px))
    entered = [getattr(block, "attn", None) for block in model.blocks]
    if rows != columns or not all(hasattr(each, "attn_drop") for each in entered):
        raise EncoderError(
            f"the attention of {running.name} ({type(model).__name__}, {rows} x {columns} patches) can't be told",
            expected="as many rows of patches as columns, and blocks that have attn, as timm's usual ones",
        )
    start = _STARTS.get(_pool_of(model), ())
    places = [Place(each) for each in entered]
    if sum(start) < 1:
        places.append(Place(model.norm, leaving=True))
    return TokenLayout(
        rows, tuple(places), start, partial(_attentions, model, entered), _no_rollout(running.name, model, entered)
    )


def _pool_of(model: Any) -> str:
    from timm.models.deit import VisionTransformerDistilled

    if isinstance(model, VisionTransformerDistilled):
        return "distilled"  # the mean of its first two tokens, whatever global_pool says
    with_prefix = model.global_pool == "avg" and getattr(model, "pool_include_prefix", False)
    return "avg of prefix tokens as well" if with_prefix else str(model.global_pool)


def _no_rollout(name: str, model: Any, entered: Sequence[Any]) -> str:
    """Tell why attention can't be followed: pools may attend on their own, or pick a token, another for each number."""
    if (pool := _pool_of(model)) not in _STARTS:
        return f"{name} pools its tokens in a way that attention is not followed through ({pool})"
    other = {type(each).__name__ for each in entered} - set(_PLAIN)
    return f"{name} attends in another way than by one softmax a head ({', '.join(sorted(other))})" if other else ""


def _attentions(model: Any, entered: Sequence[Any], pixels: Any) -> list[Any]:
    """Run the network with attention in plain steps, the only way that shows it: what it drops out from is it."""
    found: list[Any] = []
    with ExitStack() as stack:
        for each in entered:
            stack.callback(setattr, each, "fused_attn", each.fused_attn)
            each.fused_attn = False
            hook = each.attn_drop.register_forward_pre_hook(lambda _, given: found.append(given[0].float().mean(dim=1)))
            stack.callback(hook.remove)
        model.forward_features(pixels)
    return found
