"""Encoders by name.

``phikon-v2`` is Owkin's Phikon-v2 (Filiot et al., 2024, arXiv:2409.09173), a ViT-L/16 trained on histology tiles of
224 pixels at 0.5 µm a pixel. **Its licence allows non-commercial use only**: read it at the model's page,
``owkin/phikon-v2``, before using embeddings for anything else. ``stain-texture`` is built in, needs no weights, and is
under featstore's own licence. Any other name with a slash is a model of the Hugging Face hub, of the library
transformers; ``timm:`` and a name of timm's own (``timm:resnet50.a1_in1k``) or a hub id is one of the library timm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from featstore.encoders.base import Encoder
from featstore.encoders.device import require_known
from featstore.encoders.hub import Snapshot, cached_snapshot, find_snapshot
from featstore.encoders.huggingface import load_huggingface
from featstore.encoders.processor import Processor
from featstore.encoders.stain_texture import StainTexture
from featstore.encoders.timm_folder import load_timm
from featstore.encoders.timm_names import HUB_ID, SCHEME, resolve_timm
from featstore.errors import SettingError

__all__ = ["DEFAULT_ENCODER", "encoder_names", "encoder_state", "load_encoder", "weights_present"]

DEFAULT_ENCODER = "phikon-v2"

_BUILT_IN = "stain-texture"


@dataclass(frozen=True)
class _Model:
    """A model: what the recipe calls it, its hub id, its terms, and its processor should the file be missing."""

    name: str
    hub_id: str
    licence: str
    processor: Processor | None = None


_MODELS = {
    DEFAULT_ENCODER: _Model(
        DEFAULT_ENCODER,
        "owkin/phikon-v2",
        "non-commercial use only: Owkin's licence, at owkin/phikon-v2",
        Processor(size_px=224),
    )
}


def encoder_names() -> tuple[str, ...]:
    """Names of the encoders that featstore knows by itself; hub ids (``owner/name``) and ``timm:`` come on top."""
    return (*_MODELS, _BUILT_IN)


def weights_present(name: str, revision: str | None = None) -> bool:
    """Whether an encoder could be loaded now without a network; the weights are not loaded.

    Nor is torch, except by timm, which is asked for names of its own.

    Raises
    ------
    SettingError
        If there is no encoder of that name.
    """
    return name == _BUILT_IN or cached_snapshot(_find(name).hub_id, revision) is not None


def encoder_state(name: str) -> str:
    """Say for people whether an encoder's weights are here, and on what terms they may be used.

    Raises
    ------
    SettingError
        If there is no encoder of that name.
    """
    if name == _BUILT_IN:
        return "built in, needs no weights"
    found = _find(name)
    cached = cached_snapshot(found.hub_id)
    here = f"weights in {cached.folder}" if cached else "weights not here: fetched at first use, or pass --weights DIR"
    return f"{here} ({found.licence})"


def load_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    weights: Path | str | None = None,
    revision: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
) -> Encoder:
    """Find an encoder. What it needs in memory is loaded by its ``start``, or by the first ``encode``.

    Parameters
    ----------
    name : str, default="phikon-v2"
        One of `encoder_names`, a hub id, or ``timm:`` with a name of timm's own or a hub id: then the embedding is what
        timm gives without a classifier. Mind that Phikon-v2 is for non-commercial use only.
    weights : Path or str, optional
        A folder to take the weights from, written by ``save_pretrained``, or for ``timm:`` by
        ``timm.models.save_for_hf``; the hub is left alone. The encoder keeps ``name`` and its digest says which weights
        they were.
    revision : str, optional
        Branch, tag or commit of the hub; the recipe records the commit. Without it what the cache has is used, else the
        newest commit of ``main``.
    device : str, default="auto"
        ``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : str, default="auto"
        ``auto`` (see `choose_precision`), ``float32``, ``float16`` or ``bfloat16``.
    compiled : bool, default=False
        Whether the model goes through ``torch.compile``: a start of a minute or so, then somewhat faster.

    Returns
    -------
    Encoder

    Raises
    ------
    SettingError
        If a name, device or precision is unknown or not here, or options contradict each other.
    WeightsNotFoundError
        If the weights are neither here nor to be had.
    EncoderError
        If the model can't be loaded, or gives no embedding.
    MissingExtraError
        If a package is missing that the encoder needs.
    """
    require_known(device, precision)
    if name == _BUILT_IN:
        return _load_built_in(weights, revision, device, precision, compiled)
    found = _find(name, local=weights is not None)
    if weights is not None and revision is not None:
        raise SettingError(
            f"both weights ({weights}) and revision ({revision}) are given",
            expected="one of them: a folder has no revisions",
        )
    snapshot = Snapshot(Path(weights), "") if weights is not None else find_snapshot(found.hub_id, revision)
    load = load_timm if name.startswith(SCHEME) else partial(load_huggingface, default=found.processor)
    return load(
        found.name,
        snapshot.folder,
        commit=snapshot.commit,
        device=device,
        precision=precision,
        compiled=compiled,
        licence=found.licence,
    )


def _load_built_in(
    weights: Path | str | None, revision: str | None, device: str, precision: str, compiled: bool
) -> StainTexture:
    if weights is not None or revision is not None or device not in ("auto", "cpu") or compiled:
        raise SettingError(
            f"{_BUILT_IN} has no weights, no revisions and nothing to compile, and computes on the CPU",
            remedy="Leave those options out.",
        )
    if precision not in ("auto", "float32"):
        raise SettingError(f"{_BUILT_IN} computes in float32, not in {precision}", remedy="Leave --precision out.")
    return StainTexture()


def _find(name: str, *, local: bool = False) -> _Model:
    """Look a name up; with weights of one's own (``local``) a model may be called anything that is no scheme."""
    if name in _MODELS:
        return _MODELS[name]
    if name.startswith(SCHEME) and name != SCHEME and not local:
        return _of_hub(*resolve_timm(name))
    if HUB_ID.fullmatch(name.removeprefix(SCHEME)):
        return _of_hub(name, name.removeprefix(SCHEME))
    if local and (own := name.removeprefix(SCHEME)) and ":" not in own:
        return _Model(name, "", "as stated where its weights come from")
    raise SettingError(
        f"there is no encoder named {name!r}",
        expected=f"{', '.join(encoder_names())}, a model of the Hugging Face hub as owner/name, or of timm as "
        "timm:NAME or timm:owner/name",
    )


def _of_hub(name: str, hub_id: str) -> _Model:
    return _Model(name, hub_id, f"as stated at {hub_id} on the Hugging Face hub")
