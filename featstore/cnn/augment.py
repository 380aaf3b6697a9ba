"""Augmentation of a batch on the device that trains: nothing waits for pixels, and every draw is keyed.

What happens to an image in an epoch is a function of the seed, its content and the epoch alone: not of its batch, nor
of where a run was taken up again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["STRENGTHS", "Strength", "augment", "draw"]

NUMBERS = 16
"""Uniform numbers an image and epoch, in a fixed order; all are drawn whether they are needed or not."""

_LUMA = (0.299, 0.587, 0.114)
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@dataclass(frozen=True)
class Strength:
    """How far augmentation goes.

    Attributes
    ----------
    flips : bool
        Left to right and top to bottom, each every other time.
    rotation_deg : float
        At most, either way.
    zoom : float
        Sides change by up to this share, either way.
    shift : float
        Up to this share of the side, in both directions.
    light : float
        Brightness and contrast change by up to this share.
    colour : float
        Saturation changes by up to this share, hue by a tenth of it of the colour circle.
    erase : float
        How often a rectangle of 2 to 12% of the picture is painted grey.
    """

    flips: bool = False
    rotation_deg: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    light: float = 0.0
    colour: float = 0.0
    erase: float = 0.0


STRENGTHS = {
    "none": Strength(),
    "light": Strength(flips=True, rotation_deg=15, zoom=0.05, light=0.05, colour=0.05),
    "strong": Strength(flips=True, rotation_deg=180, zoom=0.2, shift=0.1, light=0.2, colour=0.2, erase=0.25),
}
"""``light`` as the crops of a store are augmented; ``strong`` wider in everything, with erased rectangles."""


def draw(seed: int, digests: Sequence[str], epoch: int) -> NDArray[np.float64]:
    """Draw the uniform numbers of images in an epoch.

    Returns
    -------
    ndarray of shape (n_images, 16)
        From 0 up to, and without, 1: of a Philox generator (Salmon et al., 2011, doi:10.1145/2063384.2063405) keyed by
        a hash of seed, content and epoch.
    """
    rows = np.empty((len(digests), NUMBERS))
    for row, digest in zip(rows, digests, strict=True):
        key = hashlib.blake2b(f"cnn {seed} {digest} {epoch}".encode(), digest_size=16).digest()
        raw = np.random.Philox(key=np.frombuffer(key, np.uint64)).random_raw(NUMBERS)
        row[:] = (raw >> np.uint64(11)) * 2.0**-53
    return rows


def augment(pixels: Any, drawn: NDArray[np.float64], strength: Strength) -> Any:
    """Augment a batch.

    Parameters
    ----------
    pixels : Tensor of shape (n, 4, side, side), float32
        RGB and mask from 0 to 1, on any device.
    drawn : ndarray of shape (n, 16)
        From `draw`.
    strength : Strength

    Returns
    -------
    Tensor of the same shape
        The mask moves with its image; only light and colour leave it as it is.
    """
    import torch

    if strength == Strength():
        return pixels
    numbers = torch.from_numpy(drawn.astype(np.float32)).to(pixels.device)
    moved = _move(torch, pixels, numbers, strength)
    colours = _recolour(torch, moved[:, :3], numbers, strength)
    return _erase(torch, torch.cat([colours, moved[:, 3:]], dim=1), numbers, strength)


def _either_way(numbers: Any, most: float) -> Any:
    return (2 * numbers - 1) * most


def _move(torch: Any, pixels: Any, numbers: Any, strength: Strength) -> Any:
    """Flip, turn, zoom and shift as one map; glass comes in from outside."""
    angle = torch.deg2rad(_either_way(numbers[:, 0], strength.rotation_deg))
    zoom = 1 + _either_way(numbers[:, 1], strength.zoom)
    across, down = (
        torch.where(numbers[:, place] < 0.5, -1.0, 1.0) if strength.flips else torch.ones_like(zoom) for place in (2, 3)
    )
    shift_x, shift_y = (_either_way(numbers[:, place], 2 * strength.shift) for place in (4, 5))
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = [torch.stack([across * cos, -across * sin, shift_x], 1), torch.stack([down * sin, down * cos, shift_y], 1)]
    grid = torch.nn.functional.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    outside = torch.tensor([1.0, 1.0, 1.0, 0.0], device=pixels.device).view(1, 4, 1, 1)
    return torch.nn.functional.grid_sample(pixels - outside, grid, align_corners=False) + outside


def _recolour(torch: Any, colours: Any, numbers: Any, strength: Strength) -> Any:
    """Brightness, contrast, saturation and hue as one linear map of colours, the latter two in YIQ."""
    bright = 1 + _either_way(numbers[:, 6], strength.light)
    contrast = 1 + _either_way(numbers[:, 7], strength.light)
    saturation = 1 + _either_way(numbers[:, 8], strength.colour)
    turn = 2 * torch.pi * _either_way(numbers[:, 9], strength.colour / 10)
    yiq = torch.tensor(_YIQ, device=colours.device)
    cos, sin, zero = saturation * torch.cos(turn), saturation * torch.sin(turn), torch.zeros_like(turn)
    inner = torch.stack(
        [
            torch.stack([torch.ones_like(turn), zero, zero], 1),
            torch.stack([zero, cos, -sin], 1),
            torch.stack([zero, sin, cos], 1),
        ],
        1,
    )
    matrix = torch.linalg.inv(yiq) @ inner @ yiq * (bright * contrast).view(-1, 1, 1)
    luma = torch.tensor(_LUMA, device=colours.device).view(1, 3, 1, 1)
    grey = (colours * luma).sum(1).mean((1, 2)) * bright * (1 - contrast)
    return (torch.einsum("nij,njhw->nihw", matrix, colours) + grey.view(-1, 1, 1, 1)).clamp(0, 1)


def _erase(torch: Any, pixels: Any, numbers: Any, strength: Strength) -> Any:
    """Paint a rectangle grey, with no mask, in some of the pictures (Zhong et al., 2020, arXiv:1708.04896)."""
    area, aspect = 0.02 + 0.1 * numbers[:, 11], torch.exp(_either_way(numbers[:, 12], 1.2))
    wide, high = torch.sqrt(area * aspect).clamp(max=1), torch.sqrt(area / aspect).clamp(max=1)
    left, top = numbers[:, 13] * (1 - wide), numbers[:, 14] * (1 - high)
    at = (torch.arange(pixels.shape[-1], device=pixels.device) + 0.5) / pixels.shape[-1]
    columns = (at >= left[:, None]) & (at < (left + wide)[:, None])
    rows = (at >= top[:, None]) & (at < (top + high)[:, None])
    erased = rows[:, :, None] & columns[:, None, :] & (numbers[:, 10] < strength.erase)[:, None, None]
    paint = torch.tensor([0.5, 0.5, 0.5, 0.0], device=pixels.device).view(1, 4, 1, 1)
    return torch.where(erased[:, None], paint, pixels)
