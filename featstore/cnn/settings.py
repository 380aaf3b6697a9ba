"""How a network is trained, in plain values: what a checkpoint is checked against."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from featstore.cnn.networks import Network

__all__ = ["Settings", "as_config", "differing", "settings_of"]


@dataclass(frozen=True)
class Settings:
    """Parameters of `ImageClassifier` that decide what one network becomes; see there."""

    network: Network
    use_mask: bool
    augmentation: str
    sampling: str
    lr: float
    body_lr: float
    frozen_epochs: int
    warmup_epochs: int
    schedule: str
    weight_decay: float
    dropout: float
    label_smoothing: float
    batch_size: int
    max_epochs: int
    patience: int
    seed: int


_KINDS = {"bool": bool, "int": int, "float": float, "str": str}


def settings_of(model: Any) -> Settings:
    """Take the settings of an `ImageClassifier` that has found its network; each network has a seed of its own."""
    plain = {each.name: _KINDS[str(each.type)] for each in fields(Settings) if each.name not in ("network", "seed")}
    return Settings(model.network_, **{name: kind(getattr(model, name)) for name, kind in plain.items()}, seed=0)


def as_config(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON values; where weights lie is left out, what they are stays."""
    config = asdict(settings)
    network = config.pop("network")
    del network["folder"]
    return {**config, **{f"network_{name}": value for name, value in network.items()}}


def differing(config: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Name the settings in which two configurations differ, with both values."""
    names = sorted(config.keys() | other.keys())
    return [f"{n}: {other.get(n)!r} there, {config.get(n)!r} now" for n in names if config.get(n) != other.get(n)]
