"""Names of timm's models: where on the hub their weights are, and what their owners tell people to build them with."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from featstore.encoders.base import require
from featstore.errors import SettingError, WeightsNotFoundError

__all__ = ["HUB_ID", "SCHEME", "close_to", "own_arguments", "require_timm", "resolve_timm"]

SCHEME = "timm:"
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*", re.ASCII)

_SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}

_OWN_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "bioptimus/h0-mini": _SWIGLU,
    "mahmoodlab/uni": {"init_values": 1e-5},
    "mahmoodlab/uni2-h": {
        **{"img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "init_values": 1e-5, "embed_dim": 1536},
        **{"mlp_ratio": 2.66667 * 2, "no_embed_class": True, "reg_tokens": 8, **_SWIGLU},
    },
    "paige-ai/virchow": _SWIGLU,
    "paige-ai/virchow2": _SWIGLU,
}
"""Arguments that the pages of these models tell people to pass, because a config.json can't hold a class of layers."""


def require_timm() -> ModuleType:
    """Import timm, or say which extra brings it."""
    return require("timm", "cnn")


def resolve_timm(name: str) -> tuple[str, str]:
    """Look a model of timm up.

    Parameters
    ----------
    name : str
        ``timm:`` and a name of timm's own, with or without the tag of its weights, or ``owner/name`` of the hub.

    Returns
    -------
    name : str
        With the tag: what timm takes by default may be another one tomorrow.
    hub_id : str

    Raises
    ------
    SettingError
        If timm knows no such model or weights; the message names those of a similar name.
    WeightsNotFoundError
        If timm knows the model, but no weights of it.
    """
    own = name.removeprefix(SCHEME)
    if HUB_ID.fullmatch(own):
        return name, own
    timm = require_timm()
    try:
        found = timm.models.get_pretrained_cfg(own)
    except RuntimeError:  # it knows the model, and no weights with this tag
        found = None
    if found is None:
        known = [*timm.list_models(), *timm.list_pretrained()]
        raise SettingError(
            f"timm {timm.__version__} has no model named {own!r}",
            expected=f"{close_to(own, known)}a name that timm.list_pretrained() lists, or owner/name of the hub",
        )
    if not found.hf_hub_id:
        raise WeightsNotFoundError(
            f"timm {timm.__version__} knows of no weights for {own} on the hub",
            remedy="Pass --weights DIR, a folder that timm.models.save_for_hf wrote.",
        )
    return f"{SCHEME}{found.architecture}.{found.tag}" if found.tag else name, str(found.hf_hub_id)


def close_to(name: str, known: list[str]) -> str:
    """Name what someone may have meant, for the beginning of what is expected; empty where nothing is near."""
    near = difflib.get_close_matches(name, known, n=3)
    return "".join(f"{one}, " for one in near)


def own_arguments(name: str) -> Mapping[str, Any]:
    """Tell what the page of a model says to build it with, besides what its config.json says."""
    return _OWN_ARGUMENTS.get(name.removeprefix(SCHEME).lower(), {})
