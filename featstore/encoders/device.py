"""Which device and precision a model runs in: asked for, or chosen, and never silently another."""

from __future__ import annotations

import re
from typing import Any

from featstore.encoders.base import require
from featstore.errors import SettingError

__all__ = [
    "PRECISIONS",
    "free_memory",
    "is_out_of_memory",
    "limit_threads",
    "require_known",
    "resolve_device",
    "usable_devices",
    "use_threads",
]

PRECISIONS = ("float32", "float16", "bfloat16")

_OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "alloc_failed")
"""What CUDA, MPS, cuBLAS, and torch's allocator for the CPU (on Linux, on Windows) say, in a RuntimeError."""


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


def require_known(device: str, precision: str) -> None:
    """Refuse words that name no device or precision anywhere; whether they are to be had here shows later.

    Raises
    ------
    SettingError
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise SettingError(f"device is {device!r}", expected="auto, cpu, cuda, cuda:0, cuda:1 and so on, or mps")
    if precision not in ("auto", *PRECISIONS):
        raise SettingError(f"precision is {precision!r}", expected="auto, " + ", ".join(PRECISIONS))


def use_threads(count: int) -> None:
    """Have torch compute on so many cores in this process."""
    torch: Any = require("torch")
    torch.set_num_threads(count)


def limit_threads(most: int) -> None:
    """Have torch compute on no more cores than that: by itself it does not know of a container's share."""
    torch: Any = require("torch")
    torch.set_num_threads(min(most, torch.get_num_threads()))


def free_memory() -> None:
    """Give back to the device what torch holds of its memory without using it."""
    torch: Any = require("torch")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that the device's or the machine's memory did not suffice."""
    seen: BaseException | None = error
    while seen is not None:
        said = str(seen).lower()
        if isinstance(seen, MemoryError) or (
            isinstance(seen, RuntimeError) and any(words in said for words in _OUT_OF_MEMORY)
        ):
            return True
        seen = seen.__cause__
    return False
