"""Which stage of a run the others waited for, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LOADING", "STAGES", "Bottleneck", "Lanes", "find_bottleneck"]

LOADING = ("decode", "segment", "augment")
STAGES = (*LOADING, "transfer", "encode", "write")
"""In the order in which an image goes through them."""


@dataclass(frozen=True)
class Lanes:
    """How many processes do what at the same time.

    Attributes
    ----------
    encoders : int
        Processes with an encoder on a device of its own.
    loaders : int
        Processes that load images for all of them; 0 where the encoders' own do.
    light : bool
        Whether a light encoder does its work while loading.
    device : str
        ``cpu``, ``mps`` or ``cuda``; that of the encoders.
    cores : int
        That the encoders and loaders have for themselves.
    """

    encoders: int = 1
    loaders: int = 0
    light: bool = False
    device: str = "cpu"
    cores: int = 1


@dataclass(frozen=True)
class Bottleneck:
    """The stage that the others waited for.

    Attributes
    ----------
    stage : str
    share : float
        Of the time that a run would take if no stage waited for another, from 0 to 1.
    advice : str
        What would make it faster; a sentence.
    """

    stage: str
    share: float
    advice: str


def find_bottleneck(seconds: Mapping[str, float], lanes: Lanes) -> Bottleneck | None:
    """Find the stage that a run's time went into.

    Stages of one lane follow each other, lanes go on side by side: the lane that takes longest is the bottleneck, and
    the longest of its stages names it.

    Parameters
    ----------
    seconds : mapping from str to float
        Seconds by stage, summed over processes.
    lanes : Lanes

    Returns
    -------
    Bottleneck or None
        None where nothing was computed.
    """
    by_lane = _lanes(seconds, lanes)
    lane = max(by_lane, key=lambda name: sum(by_lane[name].values()))
    stages = by_lane[lane]
    if not sum(stages.values()):
        return None
    stage = max(stages, key=lambda name: stages[name])
    share = stages[stage] / sum(stages.values())
    return Bottleneck(stage, share, _advice(stage, lanes))


def _lanes(seconds: Mapping[str, float], lanes: Lanes) -> dict[str, dict[str, float]]:
    """Tell for each lane the seconds of each of its stages, divided by the processes in it."""
    stages = {"loading": list(LOADING), "transfer": ["transfer"], "encoding": ["encode"], "writing": ["write"]}
    if lanes.light:
        stages["loading"] += stages.pop("encoding")
    elif lanes.device != "cuda":  # where copies go beside the model
        stages["encoding"] += stages.pop("transfer")
    if not lanes.loaders:
        stages["encoding"] = [*stages.pop("loading"), *stages.get("encoding", [])]
    processes = {"loading": lanes.loaders, "transfer": lanes.encoders, "encoding": lanes.encoders, "writing": 1}
    return {lane: {name: seconds.get(name, 0.0) / processes[lane] for name in stages[lane]} for lane in stages}


def _advice(stage: str, lanes: Lanes) -> str:
    if stage == "write":
        return "A faster disk under the store would help."
    if stage == "encode" and not lanes.light:
        return _ENCODER.get(lanes.device, _ENCODER["cpu"])
    spare = lanes.cores if lanes.light else lanes.cores - lanes.encoders
    loading = lanes.loaders or (lanes.encoders if lanes.light else 0)
    if loading < spare and (lanes.light or lanes.device != "cpu"):
        each = lanes.loaders // lanes.encoders
        return f"More --workers would help: there were {each} for each device, {lanes.cores} cores in all."
    return "More cores would help, or more machines: --shard, --dask."


_ENCODER = {
    "cpu": "A GPU would help, or more machines: --shard, --dask.",
    "mps": "This is the speed of the encoder here; more machines would help: --shard, --dask.",
    "cuda": "This is the speed of the encoder; --compile may help a little, more GPUs or machines much.",
}
