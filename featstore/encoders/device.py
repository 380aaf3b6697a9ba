"""Which device and precision a model runs in: asked for, or chosen, and never silently another."""

from __future__ import annotations

from typing import Any

from featstore.encoders.base import require
from featstore.errors import SettingError

__all__ = ["PRECISIONS", "resolve_device", "resolve_precision", "usable_devices"]

PRECISIONS = ("float32", "float16", "bfloat16")


def usable_devices() -> list[tuple[str, str]]:
    """List the devices that torch can use here as (device, its name), the best first."""
    torch: Any = require("torch")
    cuda = [(f"cuda:{i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    mps = [("mps", "Apple silicon")] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, ("cpu", f"{torch.get_num_threads()} threads")]


def resolve_device(wanted: str) -> str:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device that is there.

    Raises
    ------
    SettingError
        If it is not there; the message lists those that are.
    """
    there = [device for device, _ in usable_devices()]
    if wanted == "auto":
        return there[0]
    device = "cuda:0" if wanted == "cuda" else wanted
    if device not in there:
        raise SettingError(
            f"device {wanted!r} is not usable here",
            expected="auto, " + ", ".join(there),
            remedy="Choose with --device.",
        )
    return device


def resolve_precision(wanted: str, device: str) -> str:
    """Turn ``auto`` into float16 on CUDA and float32 elsewhere.

    Raises
    ------
    SettingError
        If the precision is unknown.
    """
    if wanted == "auto":
        return "float16" if device.startswith("cuda") else "float32"
    if wanted not in PRECISIONS:
        raise SettingError(f"precision is {wanted!r}", expected="auto, " + ", ".join(PRECISIONS))
    return wanted
