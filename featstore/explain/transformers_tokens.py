"""Where the vision transformers of Hugging Face's library have their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from featstore.encoders.checkpoints import run_model
from featstore.encoders.running import RunningModel
from featstore.errors import EncoderError
from featstore.explain.token_layout import Place, TokenLayout
from featstore.extras import require_extra

__all__ = ["blocks_of", "transformers_layout"]


def transformers_layout(running: RunningModel) -> TokenLayout:
    """Tell where the tokens are; the embedding is the CLS token.

    Raises
    ------
    EncoderError
        If the model is built otherwise than vision transformers of Hugging Face are.
    """
    places = tuple(Place(_attention_of(running, block)) for block in blocks_of(running))
    return TokenLayout(_side(running), places, (1.0,), partial(_attentions, running.model))


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


def _side(running: RunningModel) -> int:
    patch = getattr(running.model.config, "patch_size", None)
    patch = patch[0] if isinstance(patch, list | tuple) and patch else patch
    if not isinstance(patch, int) or patch < 1:
        raise EncoderError(
            f"{running.name} ({type(running.model).__name__}) does not say how large a patch is",
            expected="patch_size in its configuration",
        )
    return int(running.processor.size_px) // patch


def _attention_of(running: RunningModel, block: Any) -> Any:
    """Return the part of a block that attends: normalised tokens enter it."""
    for name, module in block.named_children():
        if "att" in name:
            return module
    raise EncoderError(
        f"the attention of {running.name} ({type(running.model).__name__}) can't be told",
        expected="a part of each block that is called attention or self_attn",
    )


def _attentions(model: Any, pixels: Any) -> list[Any]:
    with _eager(model):
        told = run_model(model, pixels, attentions=True) or ()
    return [None if attention is None else attention.float().mean(dim=1) for attention in told]


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
