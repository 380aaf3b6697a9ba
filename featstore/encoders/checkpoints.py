"""Vision transformers of the library transformers: loaded from a folder, checked to be one, run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featstore.encoders.base import first_line, require
from featstore.encoders.quiet import quietly
from featstore.encoders.running import Library
from featstore.errors import EncoderError

__all__ = ["TRANSFORMERS", "check_tokens", "last_hidden_state", "load_model", "read_config", "run_model"]

_CLS_NAMES = ("cls_token", "class_token", "class_embedding")

_UNUSED = ("pooler", "mask_token")
"""Parts of a model that the CLS embedding does not pass through; a checkpoint may lack them."""

_EXPECTED = "a vision transformer with a CLS token, such as ViT, DeiT, DINOv2 or Phikon-v2"


_SAFE = {"local_files_only": True, "trust_remote_code": False}
"""Nothing is fetched, no code of a model's own is run."""


def read_config(name: str, folder: Path) -> Any:
    """Read the configuration of a folder, completed with what is usual for its kind of model.

    Raises
    ------
    EncoderError
        If transformers can't read it.
    """
    transformers = require("transformers")
    with _refused_plainly(name, folder):
        return transformers.AutoConfig.from_pretrained(str(folder), **_SAFE)


def load_model(name: str, folder: Path) -> Any:
    """Load the model of a folder on the CPU in float32: from safetensors only, running none of its code.

    Raises
    ------
    EncoderError
        If transformers can't load it, or the weights are not all there.
    """
    transformers = require("transformers")
    config = read_config(name, folder)
    with _refused_plainly(name, folder):
        model, report = transformers.AutoModel.from_pretrained(
            str(folder), config=config, use_safetensors=True, output_loading_info=True, **_SAFE
        )
    missing = sorted(key for key in report["missing_keys"] if not any(part in key for part in _UNUSED))
    if missing:
        raise EncoderError(
            f"the weights of {name} in {folder} lack {len(missing)} of the model's tensors, the first {missing[0]}",
            expected="a checkpoint of the model that config.json describes",
        )
    if not any(key.rpartition(".")[2] in _CLS_NAMES for key, _ in model.named_parameters()):
        raise EncoderError(f"{name} is a {type(model).__name__}, which has no CLS token", expected=_EXPECTED)
    return model.float().eval()


def last_hidden_state(model: Any, pixels: Any) -> Any:
    """Run the model without gradients: (n, 3, size, size) to (n, tokens, dim)."""
    torch = require("torch")
    with torch.inference_mode():
        return run_model(model, pixels)


def run_model(model: Any, pixels: Any, *, attentions: bool = False) -> Any:
    """Run the model in whatever mode torch is in: (n, 3, size, size) to (n, tokens, dim).

    Models that can only interpolate their position embeddings when told to are told so at another than their own size.
    With ``attentions`` it returns those of each block instead, (n, heads, tokens, tokens), as far as the model tells.
    """
    extra: dict[str, bool] = {"output_attentions": True} if attentions else {}
    own = getattr(model.config, "image_size", None)
    if own not in (pixels.shape[-1], list(pixels.shape[-2:]), tuple(pixels.shape[-2:])):
        wanted = "interpolate_pos_encoding"
        extra |= {wanted: True} if wanted in inspect.signature(model.forward).parameters else {}
    done = model(pixel_values=pixels, **extra)
    return done.attentions if attentions else done.last_hidden_state


def check_tokens(name: str, model: Any, pixels: Any) -> int:
    """Run the model once and return the length of its embedding.

    Raises
    ------
    EncoderError
        If it does not answer with a CLS token followed by at least one token a patch: a convolutional network has no
        tokens, a masked autoencoder drops most of them at random.
    """
    try:
        hidden = last_hidden_state(model, pixels)
        shape = tuple(hidden.shape)
    except Exception as error:
        raise EncoderError(
            f"{name} ({type(model).__name__}) can't embed a picture of {pixels.shape[-1]} pixels in {pixels.dtype} "
            f"({first_line(error)})",
            expected=_EXPECTED,
        ) from error
    patch = getattr(model.config, "patch_size", None)
    patches = (pixels.shape[-1] // patch) ** 2 if isinstance(patch, int) and patch > 0 else 1
    if len(shape) != 3 or shape[1] < 1 + patches:
        raise EncoderError(
            f"{name} ({type(model).__name__}) answers with an array of shape {shape}",
            expected=f"(1, at least {1 + patches} tokens, dim) of {_EXPECTED}",
        )
    return int(shape[2])


def _cls_token(model: Any, pixels: Any) -> Any:
    return run_model(model, pixels)[:, 0]


@contextmanager
def _refused_plainly(name: str, folder: Path) -> Iterator[None]:
    try:
        with quietly():
            yield
    except Exception as error:
        raise EncoderError(
            f"transformers can't load {name} from {folder} ({first_line(error)})",
            expected=f"{_EXPECTED}, of a kind that transformers knows without code of the model's own",
        ) from error


TRANSFORMERS = Library("transformers", load_model, check_tokens, _cls_token)
"""Models whose embedding is ``last_hidden_state[:, 0, :]``, the CLS token."""
