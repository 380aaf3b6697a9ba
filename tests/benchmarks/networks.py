"""An epoch of M1, M2 and M3: seconds, and the share of it that the network's own arithmetic does not account for.

The same steps once on one batch that lies on the device already, without augmentation, are what no training can be
faster than. What an epoch takes longer, the device has waited for pictures, or augmented them itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from featstore.cnn import PRESETS
from featstore.cnn.folds import choose_precision
from featstore.cnn.networks import find_network, normalised
from featstore.cnn.pictures import load_pictures
from featstore.cnn.predicting import on_device
from featstore.cnn.settings import settings_of
from featstore.cnn.steps import Part, Steps
from featstore.cnn.training import _Training
from featstore.encoders.device import resolve_device

HEADS = ("system", "network", "px", "images", "an epoch, s", "bare steps, s", "not the network's")
DECODED = 32


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="networks", description=__doc__)
    parser.add_argument("--images", type=int, help="by default 691 on a GPU, 48 on a CPU")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    device = resolve_device(options.device)
    count = options.images or (691 if device.startswith("cuda") else 48)
    precision = choose_precision("auto", device)
    print(f"{device}, {precision}, batches of 32\n")
    rows = [_row(system, count, device, precision, options.runs) for system in PRESETS]
    print("\n".join(f"| {' | '.join(map(str, row))} |" for row in (HEADS, ["---"] * len(HEADS), *rows)))
    print(f"\nDecoding and framing images of 1024 x 1400 px with their masks: {_decoding():.0f} ms each, once a fit.")


def _row(system: str, count: int, device: str, precision: str, runs: int) -> tuple[object, ...]:
    import torch

    model = PRESETS[system](from_scratch=True, body_lr=1.0, frozen_epochs=0)
    model.network_ = find_network(model.network, from_scratch=True)
    side = model.network_.side_px
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, side, side, 4), dtype=np.uint8)
    part = Part(pixels, [str(i) for i in range(count)], np.arange(count) % 4)
    settings = replace(settings_of(model), max_epochs=10**6)
    training = _Training(Steps(settings, part, 4, device, precision), None, None)
    epoch, bare = [], []
    for number in range(1, runs + 2):
        whole = _timed(partial(training._epoch, number))
        steps = _timed(partial(_bare, torch, training.steps, -(-count // settings.batch_size)))
        if number > 1:  # the first warms up
            epoch.append(whole)
            bare.append(steps)
    shares = [1 - b / e for b, e in zip(bare, epoch, strict=True)]
    middle = statistics.median(shares)
    name = settings.network.name.partition(".")[0]
    seconds = (f"{statistics.median(epoch):.2f}", f"{statistics.median(bare):.2f}")
    return system, name, side, count, *seconds, f"{middle:.1%} ({min(shares):.1%} to {max(shares):.1%})"


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _bare(torch: Any, steps: Steps, count: int) -> None:
    """Take steps on one batch that is there."""
    settings = steps.settings
    some = steps.images.pixels[: settings.batch_size]
    batch = normalised(settings.network, on_device(some, steps.device), use_mask=settings.use_mask)
    codes = torch.arange(len(batch), device=steps.device) % 4
    for _ in range(count):
        steps.optimiser.zero_grad(set_to_none=True)
        with steps.autocast():
            loss = torch.nn.functional.cross_entropy(steps.module(batch).float(), codes)
        steps.scaler.scale(loss).backward()
        steps.scaler.step(steps.optimiser)
        steps.scaler.update()
    float(loss.detach())


def _decoding() -> float:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        noise = cv2.resize(rng.integers(0, 256, (256, 350, 3), dtype=np.uint8), (1400, 1024))
        cv2.imwrite(f"{name}/img.png", noise)
        cv2.imwrite(f"{name}/mask.png", (noise[..., 0] > 128).astype(np.uint8) * 255)
        seconds = _timed(lambda: load_pictures([Path(name) / "img.png"] * DECODED, 299))
    return 1000 * seconds / DECODED


if __name__ == "__main__":
    main()
