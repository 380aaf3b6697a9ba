"""Finding a model of the Hugging Face hub: in the cache, then on the network; giving up quickly where there is none.

Loading the same name twice gives the same weights: without a revision, what the cache holds as ``main`` is taken as it
is. A branch or tag that is asked for by name is looked up on the network, because it may have moved.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from featstore.encoders.base import require
from featstore.encoders.weights import CONFIG, INDEX, SINGLE, find_weights
from featstore.errors import EncoderError, WeightsNotFoundError

__all__ = ["Snapshot", "cached_snapshot", "find_snapshot"]

FILES = (CONFIG, "preprocessor_config.json", "processor_config.json", SINGLE, INDEX, "model-*-of-*.safetensors")
"""No other file is downloaded: no code, no pickles, no second copy of the weights."""

TIMEOUT_S = 5.0

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Snapshot:
    """A model's files at one commit of its repository."""

    folder: Path
    commit: str


def find_snapshot(hub_id: str, revision: str | None = None) -> Snapshot:
    """Find a model's files, downloading them if need be.

    Parameters
    ----------
    hub_id : str
        ``owner/name``.
    revision : str, optional
        Branch, tag or commit.

    Raises
    ------
    WeightsNotFoundError
        If they are neither in the cache nor to be had; comes within seconds when there is no network.
    """
    cached = cached_snapshot(hub_id, revision)
    if cached and (revision is None or _COMMIT.fullmatch(revision)):
        return cached
    hub = require("huggingface_hub")
    if _constants().HF_HUB_OFFLINE:
        if cached:
            return cached
        raise _not_found(hub_id, revision, "the hub is switched off by HF_HUB_OFFLINE")
    try:
        # Asked first because this question can be given a time limit; the download waits for ever where packets vanish.
        hub.HfApi().model_info(hub_id, revision=revision, timeout=TIMEOUT_S)
    except Exception as error:
        if cached and not _is_refusal(error):
            return cached
        raise _not_found(hub_id, revision, _reason(error)) from error
    return _download(hub_id, revision)


def cached_snapshot(hub_id: str, revision: str | None = None) -> Snapshot | None:
    """Return what the hub's cache on this machine holds of a model, or None where that is not all of it."""
    hub = require("huggingface_hub")
    config = hub.try_to_load_from_cache(hub_id, CONFIG, cache_dir=_constants().HF_HUB_CACHE, revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    try:
        find_weights(folder)
    except EncoderError:
        return None
    return Snapshot(folder, folder.name)


def _download(hub_id: str, revision: str | None) -> Snapshot:
    hub = require("huggingface_hub")
    try:
        with _bars_only_on_terminals():
            folder = Path(
                hub.snapshot_download(
                    hub_id,
                    revision=revision,
                    cache_dir=_constants().HF_HUB_CACHE,
                    allow_patterns=list(FILES),
                    etag_timeout=TIMEOUT_S,
                )
            )
    except Exception as error:
        raise _not_found(hub_id, revision, _reason(error)) from error
    find_weights(folder)
    return Snapshot(folder, folder.name)


@contextmanager
def _bars_only_on_terminals() -> Iterator[None]:
    """Show the progress of a long download where someone can watch it, and nowhere else."""
    utils = require("huggingface_hub.utils")
    if sys.stderr.isatty() or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


def _constants() -> ModuleType:
    return require("huggingface_hub.constants")


def _is_refusal(error: Exception) -> bool:
    """Whether the hub answered that there is no such thing, as against not answering."""
    errors = require("huggingface_hub.errors")
    return isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError)


def _reason(error: Exception) -> str:
    errors = require("huggingface_hub.errors")
    if isinstance(error, errors.GatedRepoError):
        return "its owner grants access one by one: ask on the model's page, then log in with: hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such model, or it is private and you are not logged in"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the model has no such revision"
    first = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first[0]}"


def _not_found(hub_id: str, revision: str | None, reason: str) -> WeightsNotFoundError:
    which = f"{hub_id} at revision {revision}" if revision else hub_id
    return WeightsNotFoundError(
        f"the weights of {which} are not on this machine and can't be downloaded ({reason})",
        remedy="Pass --weights DIR, a folder with config.json and model.safetensors; or, once they are in the cache, "
        "set HF_HUB_OFFLINE=1 to work without a network; or choose --encoder stain-texture, which needs no weights.",
    )
