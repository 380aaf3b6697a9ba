"""Vision transformers of the Hugging Face hub, or of a local folder, as encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featstore.encoders.checkpoints import TRANSFORMERS, read_config
from featstore.encoders.model import ModelEncoder
from featstore.encoders.processor import Processor, read_processor, read_side
from featstore.encoders.running import start_model
from featstore.encoders.timm_names import SCHEME
from featstore.encoders.timm_network import is_of_timm
from featstore.encoders.weights import CONFIG, digest_weights, find_weights, named_digest, read_json
from featstore.errors import EncoderError
from featstore.recipe import EncoderSettings

__all__ = ["load_huggingface"]


def load_huggingface(
    name: str,
    folder: Path,
    *,
    commit: str = "",
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    licence: str = "",
    default: Processor | None = None,
) -> ModelEncoder:
    """Make an encoder of a folder; its model is not loaded yet.

    Parameters
    ----------
    name : str
        What the recipe calls the encoder.
    folder : Path
        Written by ``save_pretrained``: config.json, model.safetensors and mostly preprocessor_config.json.
    commit : str
        Of the hub; empty for a folder from elsewhere.
    device, precision : str
    compiled : bool
    licence : str
    default : Processor, optional
        Used when the folder has no processor's file.

    Raises
    ------
    WeightsNotFoundError, EncoderError
    """
    files = find_weights(folder)
    dim, own_size = _read_sizes(name, folder)
    named = named_digest(files) if dim else ""
    processor, notes = _choose_processor(name, folder, own_size, default)
    running = None
    if dim is None:
        running = start_model(
            TRANSFORMERS, name, folder, processor, device=device, precision=precision, compiled=compiled
        )
    settings = EncoderSettings(
        name=name,
        dim=running.dim if running else int(dim or 0),
        weights_digest=named or digest_weights(files),
        revision=commit,
        input_size_px=processor.size_px,
        mean=processor.mean,
        std=processor.std,
    )
    return ModelEncoder(
        TRANSFORMERS, settings, licence, notes, folder, device, precision, compiled, running, bool(named)
    )


def _read_sizes(name: str, folder: Path) -> tuple[int | None, Any]:
    """Tell the length of an embedding (None: only the model knows) and the input size, from config.json alone.

    A file that leaves out what is usual for its kind of model is read by transformers, which knows what that is.
    """
    config = read_json(folder / CONFIG)
    if is_of_timm(config):
        raise EncoderError(f"{folder} holds a model of timm's", remedy=f"Choose it with --encoder {SCHEME}{name}.")
    if not {"hidden_size", "image_size"} <= config.keys():
        config = read_config(name, folder).to_dict()
    dim = config.get("hidden_size")
    return (dim if isinstance(dim, int) and dim > 0 else None), config.get("image_size")


def _choose_processor(
    name: str, folder: Path, own_size: Any, default: Processor | None
) -> tuple[Processor, tuple[str, ...]]:
    """Take the folder's processor, else the default, else ImageNet's numbers.

    Those are what nearly every vision transformer was trained with; refusing such a folder would only make its owner
    write the same numbers into a file. They are said in a note and stand in the recipe.
    """
    found = read_processor(folder, own_size) or default
    if found:
        return found, ()
    note = f"{name} comes without preprocessor_config.json: normalised with ImageNet's mean and standard deviation"
    return Processor(read_side(own_size, folder)), (note,)
