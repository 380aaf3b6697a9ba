"""Networks of timm as encoders: of the hub, or of a folder that timm wrote."""

from __future__ import annotations

from pathlib import Path

from featstore.encoders.base import require
from featstore.encoders.model import ModelEncoder
from featstore.encoders.processor import IMAGENET_MEAN, IMAGENET_STD, Processor, make_processor
from featstore.encoders.running import start_model
from featstore.encoders.timm_network import TIMM, Plan, embedding_of, read_plan
from featstore.encoders.weights import CONFIG, digest_weights, find_weights, named_digest
from featstore.errors import EncoderError
from featstore.recipe import EncoderSettings

__all__ = ["load_timm"]

POOLED, CLASS_AND_MEAN = "timm", "cls+mean"
"""How tokens become one vector: as the network itself does it, or as `embedding_of` does for one that pools nothing."""


def load_timm(
    name: str,
    folder: Path,
    *,
    commit: str = "",
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
    licence: str = "",
) -> ModelEncoder:
    """Make an encoder of a folder; its weights are not loaded yet.

    Parameters
    ----------
    name : str
        What the recipe calls the encoder.
    folder : Path
        Written by ``timm.models.save_for_hf`` or ``push_to_hf_hub``: config.json and model.safetensors.
    commit : str
        Of the hub; empty for a folder from elsewhere.
    device, precision : str
    compiled : bool
    licence : str

    Raises
    ------
    WeightsNotFoundError, EncoderError, MissingExtraError
    """
    files = find_weights(folder)
    plan = read_plan(name, folder)
    processor, notes = _processor(name, plan, folder)
    found, running = _foreseen(plan, processor.size_px), None
    if found is None:
        running = start_model(TIMM, name, folder, processor, device=device, precision=precision, compiled=compiled)
        found = running.dim, _pooling(running.model)
    named = "" if running else named_digest(files)
    settings = EncoderSettings(
        name=name,
        dim=found[0],
        weights_digest=named or digest_weights(files),
        revision=commit,
        input_size_px=processor.size_px,
        mean=processor.mean,
        std=processor.std,
        pooling=found[1],
    )
    return ModelEncoder(TIMM, settings, licence, notes, folder, device, precision, compiled, running, bool(named))


def _processor(name: str, plan: Plan, folder: Path) -> tuple[Processor, tuple[str, ...]]:
    """Read size and colours; a crop is brought to the size whole, so how much timm would cut off does not count."""
    where, stated = folder / CONFIG, plan.pretrained.get("input_size")
    if not (isinstance(stated, list) and len(stated) == 3 and plan.arguments.get("in_chans", stated[0]) == 3):
        raise EncoderError(f"{where} has input_size {stated}", expected="[3, side, side]: pictures in RGB")
    size = plan.arguments.get("img_size") or stated[1:]
    if "mean" in plan.pretrained and "std" in plan.pretrained:
        return make_processor(size, plan.pretrained["mean"], plan.pretrained["std"], where), ()
    note = f"{where} says nothing of colours: normalised with ImageNet's mean and standard deviation"
    return make_processor(size, IMAGENET_MEAN, IMAGENET_STD, where), (note,)


def _foreseen(plan: Plan, size_px: int) -> tuple[int, str] | None:
    """Tell the length of an embedding and the pooling, from a network without numbers: no weights are read.

    None where that can't be told: only the network itself will show, or what is wrong with it.
    """
    torch = require("torch")
    try:
        with torch.device("meta"):
            model = plan.build()
        with torch.device("meta"), torch.inference_mode():
            shape = tuple(embedding_of(model, torch.empty(1, 3, size_px, size_px)).shape)
    except Exception:  # noqa: BLE001 - some versions of timm look at numbers while they build
        return None
    return (shape[1], _pooling(model)) if len(shape) == 2 else None


def _pooling(model: object) -> str:
    return CLASS_AND_MEAN if getattr(model, "global_pool", None) == "" else POOLED
