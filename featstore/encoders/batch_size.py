"""How many crops go through an encoder together, where that is left to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from joblib import cpu_count

from featstore.encoders.base import require
from featstore.encoders.device import free_memory, is_out_of_memory

__all__ = ["find_batch_size", "seconds_of_batches", "usual_batch_size"]

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)

LEAST_GAIN = 1.05
"""How many times the crops a second a doubled batch must bring; a larger one only costs memory and waiting."""

_USUAL_CPU, _USUAL_MPS = 8, 16
_PASSES = 2


def find_batch_size(seconds: Callable[[int], float], sizes: Sequence[int] = SIZES) -> int:
    """Double the batch for as long as that makes crops clearly faster, and fits into the device's memory.

    Parameters
    ----------
    seconds : callable
        Takes a size and tells what a batch of it takes, such as `seconds_of_batches` makes.
    sizes : sequence of int
        Ascending.

    Returns
    -------
    int
        The last size that was worth it; 1 where even the first is too much for the memory.
    """
    best, rate = 1, 0.0
    for size in sizes:
        try:
            now = size / seconds(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        if now < rate * LEAST_GAIN:
            break
        best, rate = size, now
    free_memory()
    return best


def seconds_of_batches(embed: Callable[[Any], Any], side_px: int) -> Callable[[int], float]:
    """Make what `find_batch_size` asks: the fastest of a few batches, after one that is not counted.

    Parameters
    ----------
    embed : callable
        Takes a uint8 tensor (n, side_px, side_px, 3), gives one of embeddings, on whatever device.
    side_px : int
    """
    torch: Any = require("torch")

    def run(pixels: Any) -> float:
        start = perf_counter()
        embed(pixels).cpu()  # copying waits for the device
        return perf_counter() - start

    def seconds(size: int) -> float:
        pixels = torch.full((size, side_px, side_px, 3), 128, dtype=torch.uint8)
        run(pixels)
        return min(run(pixels) for _ in range(_PASSES))

    return seconds


def usual_batch_size(device: str) -> int:
    """Tell a batch size that suits a CPU (a crop for each core, 8 to 64) or MPS, where trying would take too long."""
    if device == "mps":
        return _USUAL_MPS
    cores = int(cpu_count())
    return max(_USUAL_CPU, min(64, 1 << (cores - 1).bit_length()))
