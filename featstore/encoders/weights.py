"""Model folders: where their weights are, and what identifies them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from featstore.errors import EncoderError, WeightsNotFoundError

__all__ = ["CONFIG", "INDEX", "SINGLE", "digest_weights", "find_weights", "named_digest", "read_json"]

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_DIGEST = re.compile(r"[0-9a-f]{64}")

_REMEDY = (
    "Save a model there with save_pretrained, or one of timm's with timm.models.save_for_hf(model, folder, "
    "safe_serialization=True): config.json and model.safetensors; weights in other formats are not read, because "
    "loading them can run code."
)


def find_weights(folder: Path) -> list[Path]:
    """List the weight files of a folder written by ``save_pretrained``, or by timm.

    Returns
    -------
    list of Path
        ``model.safetensors``, or the shards that its index names.

    Raises
    ------
    WeightsNotFoundError
        If the folder, its configuration, or any of the files is not there.
    """
    if not folder.is_dir():
        raise WeightsNotFoundError(f"{folder} is no folder", expected="a folder with a model's weights", remedy=_REMEDY)
    if not (folder / CONFIG).is_file():
        raise WeightsNotFoundError(f"{folder} has no {CONFIG}", remedy=_REMEDY)
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        raise WeightsNotFoundError(f"{folder} has no {SINGLE}", remedy=_REMEDY)
    shards = [folder / name for name in _shard_names(folder / INDEX)]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise WeightsNotFoundError(
            f"{folder} lacks {len(missing)} of {len(shards)} parts of its weights, the first {missing[0]}",
            remedy="Copy or download the folder again, whole.",
        )
    return shards


def _shard_names(index: Path) -> list[str]:
    parts = read_json(index).get("weight_map")
    names = sorted(set(parts.values())) if isinstance(parts, dict) and all(map(_is_name, parts.values())) else []
    if not names:
        raise EncoderError(f"{index} does not say where the weights are", expected="a weight_map with names of files")
    return names


def _is_name(value: Any) -> bool:
    """Whether it names a file beside the index: an index from elsewhere must not point out of its folder."""
    return isinstance(value, str) and value == Path(value).name


def digest_weights(files: list[Path]) -> str:
    """SHA-256 of the weights, 64 hexadecimal digits; of several files, that of their sorted digests one after another.

    Names and the cut into shards' order do not count, so the digest of one file is the one that the hub shows for it.
    """
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def named_digest(files: list[Path]) -> str:
    """Return the digest that the hub's cache gives a single file as its name, without reading it; empty elsewhere.

    The cache holds large files under their SHA-256. Whoever computes with the weights is to make sure of it.
    """
    target = files[0].resolve() if len(files) == 1 and files[0].is_symlink() else None
    return target.name if target and target.parent.name == "blobs" and _DIGEST.fullmatch(target.name) else ""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    EncoderError
        If the file can't be read or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} can't be read ({error})", expected="a JSON object") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} holds a {type(content).__name__}", expected="a JSON object")
    return content
