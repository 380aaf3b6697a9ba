"""A network's answer to pictures: in float32, without augmentation, the same on any number of cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.cnn.networks import build, normalised
from featstore.cnn.settings import Settings
from featstore.encoders.device import free_memory, is_out_of_memory
from featstore.toolkit.threads import one_core

__all__ = ["forward", "input_of", "logits_of_state", "module_of", "on_device", "reproducibly"]

_alone = threading.RLock()


def forward(module: Any, settings: Settings, pixels: NDArray[np.uint8], device: str, at_once: int) -> NDArray[Any]:
    """Return the logits of pictures, (n, n_classes) float64, in float32 arithmetic and without augmentation.

    The module is left in evaluation mode.
    """
    import torch

    module.eval()
    found: list[NDArray[np.float64]] = []
    done, at_once = 0, max(1, at_once)
    with torch.inference_mode():
        while done < len(pixels):
            try:
                some = input_of(settings, pixels[done : done + at_once], device)
                found.append(module(some).cpu().double().numpy())
                done += at_once
            except Exception as error:
                if at_once == 1 or not is_out_of_memory(error):
                    raise
                at_once //= 2  # of which no logit depends
                free_memory()
    return np.concatenate(found)


def input_of(settings: Settings, pixels: NDArray[np.uint8], device: str) -> Any:
    """Turn pictures (n, side, side, 4) into what the network takes, on a device."""
    return normalised(settings.network, on_device(pixels, device), use_mask=settings.use_mask)


def on_device(pixels: NDArray[np.uint8], device: str) -> Any:
    """Turn pictures (n, side, side, 4) into a tensor (n, 4, side, side) from 0 to 1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float() / 255


def logits_of_state(
    settings: Settings, state: dict[str, NDArray[Any]], n_classes: int, pixels: NDArray[np.uint8], device: str
) -> NDArray[np.float64]:
    """Return the logits of pictures by a network with these weights."""
    import torch

    module = module_of(settings, state, n_classes).to(device)
    with reproducibly(torch, device):
        return forward(module, settings, pixels, device, settings.batch_size)


def module_of(settings: Settings, state: dict[str, NDArray[Any]], n_classes: int) -> Any:
    """Build a network with these weights, on the CPU, in evaluation mode."""
    import torch

    bare = replace(settings.network, folder=None)
    with _alone, torch.random.fork_rng(devices=[]):
        module = build(bare, n_classes, use_mask=settings.use_mask, dropout=settings.dropout)
    module.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    return module.eval()


@contextmanager
def reproducibly(torch: Any, device: str) -> Iterator[None]:
    """Compute on one core of a CPU, and leave the caller's threads and random numbers as they were.

    One thread of a process at a time: torch's random numbers are those of the whole process.
    """
    with _alone, torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        if device != "cpu":
            yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with one_core():
                yield
        finally:
            torch.set_num_threads(before)
