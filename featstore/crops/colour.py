"""Changing the colours of a crop in place: brightness, contrast, saturation, hue, and the stains."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops.draws import Draws

__all__ = ["STAINS", "jitter", "perturb_stains"]

STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""How haematoxylin, eosin and DAB (rows) absorb red, green and blue: Ruifrok & Johnston, 2001, PMID 11531144."""

GREY = np.array([0.299, 0.587, 0.114])
"""What red, green and blue make of grey: ITU-R BT.601."""

DARKEST = np.float32(1 / 255)
"""Black absorbs without bound; darker colours count as this one, the first level above it."""


def jitter(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    """Change brightness, contrast, saturation and hue, in this order, each as torchvision's functions do.

    Brightness blends with black, contrast with the mean grey of the crop, saturation with each pixel's grey; hue turns
    the colour circle of HSV. Colours are clipped after each step.

    Parameters
    ----------
    pixels : ndarray of shape (side, side, 3), float32
        RGB from 0 to 1; changed in place.
    draws : Draws

    Returns
    -------
    ndarray of shape (side, side, 3), float32
        The same array.
    """
    if draws.brightness != 1:
        pixels *= np.float32(draws.brightness)
        np.clip(pixels, 0, 1, out=pixels)
    if draws.contrast != 1:
        mean = GREY @ cv2.mean(pixels)[:3]
        pixels *= np.float32(draws.contrast)
        pixels += np.float32((1 - draws.contrast) * mean)
        np.clip(pixels, 0, 1, out=pixels)
    if draws.saturation != 1:
        _saturate(pixels, draws.saturation)
    if draws.hue != 0:
        _turn_hue(pixels, draws.hue)
    return pixels


def perturb_stains(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    """Vary how strongly each stain took: every stain channel ``s`` becomes ``alpha * s + beta``.

    Colours become natural optical densities, ``-ln(colour)``, and these the amounts of haematoxylin, eosin and DAB
    (Tellez et al., 2018, doi:10.1109/TMI.2018.2820199); after the change it goes back the same way. Nothing is clipped
    in between, so all of it is one affine map of densities. A ``beta`` of 0.1 is about as much stain as absorbs a
    tenth of the light of the colour that it absorbs most.

    Parameters
    ----------
    pixels : ndarray of shape (side, side, 3), float32
        RGB from 0 to 1; changed in place.
    draws : Draws

    Returns
    -------
    ndarray of shape (side, side, 3), float32
        The same array.
    """
    if draws.stain_alpha == (1.0, 1.0, 1.0) and draws.stain_beta == (0.0, 0.0, 0.0):
        return pixels
    # Rows of STAINS turn stain amounts into densities: density = amount @ STAINS, amount = density @ inverse.
    mix = np.linalg.inv(STAINS) @ np.diag(draws.stain_alpha) @ STAINS
    shift = np.asarray(draws.stain_beta) @ STAINS
    # The map works on ln(colour), the negative density, so the shift changes its sign.
    affine = np.column_stack([mix.T, -shift])
    np.clip(pixels, DARKEST, 1, out=pixels)
    cv2.log(pixels, dst=pixels)
    light = cv2.transform(pixels, affine)
    cv2.exp(light, dst=pixels)
    return np.clip(pixels, 0, 1, out=pixels)


def _saturate(pixels: NDArray[np.float32], factor: float) -> None:
    blend = factor * np.eye(3) + (1 - factor) * GREY
    np.clip(cv2.transform(pixels, blend), 0, 1, out=pixels)


def _turn_hue(pixels: NDArray[np.float32], share: float) -> None:
    hsv = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), dtype=np.float32)
    hue = hsv[..., 0]
    hue += np.float32(360 * (share % 1))
    np.subtract(hue, np.float32(360), out=hue, where=hue >= 360)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=pixels)
    np.clip(pixels, 0, 1, out=pixels)
