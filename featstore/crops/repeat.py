"""Crop to augmented crop, at the size that the encoder sees."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops.colour import jitter, perturb_stains
from featstore.crops.cut import fill_colour
from featstore.crops.draws import Draws
from featstore.crops.geometry import move, smooth
from featstore.errors import DataError
from featstore.recipe.crops import Colour

__all__ = ["augment", "bring_to_working_size", "erase", "normal_quantiles"]


def augment(
    crop: NDArray[np.uint8], draws: Draws, fill: Colour, *, side_px: int | None = None, size_px: int | None = None
) -> NDArray[np.uint8]:
    """Make one augmented repeat of a crop.

    In order: flips, rotation and elastic deformation as one map, brightness, contrast, saturation, hue, stains, blur,
    noise, erasing. A step whose draw is neutral is left out, so neutral draws give back the same pixels.

    A crop that was brought to a working size before (`bring_to_working_size`) gives, closely, what the repeat of the
    whole crop would be, brought to ``size_px`` at the end: lengths are in pixels of the whole crop, and noise is as
    much weaker as averaging makes it.

    Colour, stains, blur and noise act on the whole crop as it then is, the fill around the tissue included: the method
    that this follows does the same, so the fill of a repeat is near the fill colour, not equal to it. What is erased
    is exactly the fill colour.

    Parameters
    ----------
    crop : ndarray of shape (working, working, 3), uint8, RGB
        At its own size, or at a working size.
    draws : Draws
    fill : tuple of 3 floats
        RGB from 0 to 1; the one that the crop was cut with.
    side_px : int, optional
        Side of the crop at its own size; what it has by default.
    size_px : int, optional
        Side of the result, at most ``side_px``; that of ``crop`` by default.

    Returns
    -------
    ndarray of shape (size_px, size_px, 3), uint8, RGB

    Raises
    ------
    DataError
        If it is no square RGB crop, or a size is larger than ``side_px``.
    """
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.size == 0 or crop.shape != (len(crop), len(crop), 3):
        raise DataError(
            f"a crop of shape {crop.shape} and type {crop.dtype}", expected="a square RGB crop of type uint8"
        )
    side, size = len(crop) if side_px is None else side_px, len(crop) if size_px is None else size_px
    if not 1 <= size <= side or len(crop) > side:
        raise DataError(
            f"a crop of {side} px brought to {len(crop)} px, for a result of {size} px", expected="no larger sizes"
        )
    pixels = move(crop, draws, side, size, fill_colour(fill)).astype(np.float32)
    pixels *= np.float32(1 / 255)
    perturb_stains(jitter(pixels, draws), draws)
    if draws.blur:
        pixels = smooth(pixels, draws.blur_sigma_px, size / side, cv2.BORDER_DEFAULT)
    _add_noise(pixels, draws, side)
    augmented = np.asarray(cv2.convertScaleAbs(pixels, alpha=255), dtype=np.uint8)
    erase(augmented, draws, fill)
    return augmented


def bring_to_working_size(crop: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Shrink a crop to the size at which it is augmented for a result of ``size_px``, each pixel the mean of an area.

    Interpolating at that size is as sharp as turning and deforming at full size and then averaging. Crops that are
    hardly larger than the result, or smaller, come to that size or stay as they are.

    Parameters
    ----------
    crop : ndarray of shape (side, side, 3), uint8
    size_px : int

    Returns
    -------
    ndarray of shape (working, working, 3), uint8
    """
    working = _working_size(len(crop), size_px)
    if working == len(crop):
        return crop
    if 2 <= len(crop) / working < 2.5:
        # Weights of 1, 2, 1 and an interpolation average as much as an area does, in a quarter of the time.
        smoothed = cv2.GaussianBlur(crop, (3, 3), 0)
        return np.asarray(cv2.resize(smoothed, (working, working), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return np.asarray(cv2.resize(crop, (working, working), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _working_size(side_px: int, size_px: int) -> int:
    """Choose the side at which one interpolation smooths as much as two at full size do.

    In pixels of the result, averaging over a width ``w`` has a variance of ``w**2 / 12``, and a bilinear interpolation
    between pixels of that width one of ``w**2 / 6`` on average. Two of these at a width ``r`` of size over side, and
    averages from there to 1, make as much as averages from ``r`` to ``w`` and one at ``w``, if
    ``w**2 = (1 + 4 * r**2) / 3``.
    """
    if side_px <= size_px:
        return side_px
    width = math.sqrt((1 + 4 * (size_px / side_px) ** 2) / 3)
    return min(max(round(size_px / width), size_px), side_px)


def _add_noise(pixels: NDArray[np.float32], draws: Draws, side_px: int) -> None:
    """Add normal noise in place, as weak as it is when a crop of ``side_px`` is averaged down to this size."""
    if draws.noise_sigma == 0:
        return
    levels = normal_quantiles() * np.float32(draws.noise_sigma * _after_averaging(side_px, len(pixels)))
    pixels += cv2.LUT(draws.noise_grid(len(pixels)), levels)
    np.clip(pixels, 0, 1, out=pixels)


@cache
def _after_averaging(side_px: int, size_px: int) -> float:
    """Tell what is left of the spread of independent pixels when areas are averaged, in both directions.

    A pixel of the result covers ``side_px / size_px`` pixels along each, the first and the last of them in part.
    """
    edges = np.arange(size_px + 1) * (side_px / size_px)
    first, last = edges[:-1], edges[1:]
    covered = (
        np.maximum(np.floor(last) - np.ceil(first), 0) + (np.ceil(first) - first) ** 2 + (last - np.floor(last)) ** 2
    )
    return float(np.mean(covered)) / (side_px / size_px) ** 2


@cache
def normal_quantiles() -> NDArray[np.float32]:
    """Return the standard normal number of each of 256 equally likely levels; they end at 2.9.

    They are as much larger than those in the middle of each level that their variance is 1.
    """
    inverse = NormalDist().inv_cdf
    levels = np.array([inverse((level + 0.5) / 256) for level in range(256)])
    return np.asarray(levels / levels.std(), dtype=np.float32)


def erase(crop: NDArray[np.uint8], draws: Draws, fill: Colour) -> None:
    """Fill one rectangle (Zhong et al., 2020, doi:10.1609/aaai.v34i07.7000), in place."""
    if not draws.erase:
        return
    side = crop.shape[0]
    width = min(round(side * math.sqrt(draws.erase_area * draws.erase_aspect)), side)
    height = min(round(side * math.sqrt(draws.erase_area / draws.erase_aspect)), side)
    x, y = int(draws.erase_x * (side - width + 1)), int(draws.erase_y * (side - height + 1))
    crop[y : y + height, x : x + width] = fill_colour(fill)
