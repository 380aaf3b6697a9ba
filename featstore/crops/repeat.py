"""Crop to augmented crop: the literal way, every operation at the crop's own size and in order."""

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
from featstore.crops.geometry import deform, flip, rotate
from featstore.errors import DataError
from featstore.recipe import Colour

__all__ = ["augment"]


def augment(crop: NDArray[np.uint8], draws: Draws, fill: Colour) -> NDArray[np.uint8]:
    """Make one augmented repeat of a crop.

    In order: flips, rotation, brightness, contrast, saturation, hue, stains, elastic deformation, blur, noise, erasing.
    Colours are float32 from 0 to 1 in between and rounded once, at the end. A step whose draw is neutral is left out,
    so neutral draws give back the same pixels. Lengths are in pixels of the crop.

    Colour, stains, blur and noise act on the whole crop as it then is, the fill around the tissue included: the method
    that this follows does the same, so the fill of a repeat is near the fill colour, not equal to it. What is erased
    is exactly the fill colour.

    Parameters
    ----------
    crop : ndarray of shape (side, side, 3), uint8, RGB
    draws : Draws
    fill : tuple of 3 floats
        RGB from 0 to 1; the one that the crop was cut with.

    Returns
    -------
    ndarray of shape (side, side, 3), uint8, RGB
    """
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.size == 0 or crop.shape != (len(crop), len(crop), 3):
        raise DataError(
            f"a crop of shape {crop.shape} and type {crop.dtype}", expected="a square RGB crop of type uint8"
        )
    red, green, blue = (float(level) / 255 for level in fill_colour(fill))
    border = (red, green, blue)
    pixels = crop.astype(np.float32) / np.float32(255)
    pixels = rotate(flip(pixels, draws), draws, border)
    pixels = perturb_stains(jitter(pixels, draws), draws)
    pixels = _add_noise(_blur(deform(pixels, draws, border), draws), draws)
    augmented: NDArray[np.uint8] = np.rint(pixels * np.float32(255)).astype(np.uint8)
    _erase(augmented, draws, fill)
    return augmented


def _blur(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    if not draws.blur or draws.blur_sigma_px <= 0:
        return pixels
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), draws.blur_sigma_px), dtype=np.float32)


def _add_noise(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    if draws.noise_sigma == 0:
        return pixels
    noise = _normal_quantiles()[draws.noise_grid(pixels.shape[0])]
    noise *= np.float32(draws.noise_sigma)
    noise += pixels
    return np.clip(noise, 0, 1, out=noise)


@cache
def _normal_quantiles() -> NDArray[np.float32]:
    """Return the standard normal number of each of 65,536 equally likely levels; they end at 4.3."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse((level + 0.5) / 65536) for level in range(65536)], dtype=np.float32)


def _erase(crop: NDArray[np.uint8], draws: Draws, fill: Colour) -> None:
    """Fill one rectangle (Zhong et al., 2020, doi:10.1609/aaai.v34i07.7000), in place."""
    if not draws.erase:
        return
    side = crop.shape[0]
    width = min(round(side * math.sqrt(draws.erase_area * draws.erase_aspect)), side)
    height = min(round(side * math.sqrt(draws.erase_area / draws.erase_aspect)), side)
    x, y = int(draws.erase_x * (side - width + 1)), int(draws.erase_y * (side - height + 1))
    crop[y : y + height, x : x + width] = fill_colour(fill)
