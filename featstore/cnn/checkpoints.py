"""Checkpoints: one file each, safetensors with JSON in its header, replaced as a whole; nothing is pickled.

A file holds a network's weights under ``network.``, those of its best epoch under ``best.``, and the optimiser's
moments under ``optimiser.``; of a training that is through, only the best.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featstore.errors import ModelFormatError, SettingError
from featstore.store.disk.files import make_folder, write_atomically

__all__ = ["Checkpoint", "read_checkpoint", "read_tensors", "write_checkpoint", "write_tensors"]

FORMAT = "featstore-checkpoint-1"


@dataclass(eq=False)
class Checkpoint:
    """How far a training has come.

    Attributes
    ----------
    config : dict
        What is trained: settings and data. One of another configuration is refused.
    state : dict
        Epoch, history and other JSON values.
    tensors : dict of str to Tensor
    """

    config: dict[str, Any]
    state: dict[str, Any]
    tensors: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Any]:
        """Return the tensors under a prefix, without it."""
        return {key.partition(".")[2]: value for key, value in self.tensors.items() if key.startswith(f"{name}.")}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace a checkpoint; whatever is killed, all of the old or all of the new one is there.

    Raises
    ------
    StoreWriteError
        If it can't be written.
    """
    make_folder(path.parent)
    write_tensors(path, FORMAT, {"config": checkpoint.config, "state": checkpoint.state}, checkpoint.tensors)


def read_checkpoint(path: Path, config: dict[str, Any], differences: Any) -> Checkpoint | None:
    """Read a checkpoint, None where there is none.

    Parameters
    ----------
    path : Path
    config : dict
        Of what is to be trained.
    differences : callable
        Takes both configurations and names what differs.

    Raises
    ------
    SettingError
        If it is of another configuration.
    ModelFormatError
        If it is no checkpoint.
    """
    if not path.exists():
        return None
    content, tensors = read_tensors(path, FORMAT)
    found = content.get("config")
    if not isinstance(found, dict) or not isinstance(content.get("state"), dict):
        raise ModelFormatError(f"{path} is no checkpoint of featstore", remedy="Delete it, or use another folder.")
    if differ := differences(json.loads(json.dumps(config)), found):
        raise SettingError(
            f"{path} is a checkpoint of another configuration ({'; '.join(differ)})",
            expected="the configuration that is trained now",
            remedy="Train with that one to go on, use another folder for checkpoints, or delete this one.",
        )
    return Checkpoint(found, content["state"], tensors)


def write_tensors(path: Path, kind: str, content: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Write tensors as safetensors, with JSON in the header."""
    from safetensors.torch import save

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry, since the order of several is not kept: the same content is to be the same bytes.
    write_atomically(path, save(whole, {kind: json.dumps(content, sort_keys=True, default=_plain)}))


def _plain(value: Any) -> Any:
    """Write NumPy's numbers, which a search over ``np.arange`` sets, as plain ones."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} in a header")


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read tensors and JSON.

    Raises
    ------
    ModelFormatError
        If the file is of another kind, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if kind not in header:
                raise ModelFormatError(f"{path} is not of the kind {kind}", remedy="Use another path, or delete it.")
            content = json.loads(header[kind])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} can't be read ({error})", remedy="Delete it, or copy it again.") from error
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path} holds no JSON object in its header", remedy="Delete it, or copy it again.")
    return content, tensors
