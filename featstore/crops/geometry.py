"""Moving the pixels of a crop: flips, rotation, elastic deformation. What comes from outside has the fill colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops.draws import Draws

__all__ = ["deform", "displacement", "flip", "rotate"]

Level = tuple[float, float, float]
"""A colour, RGB from 0 to 1."""


def flip(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    """Exchange left and right, top and bottom.

    Parameters
    ----------
    pixels : ndarray of shape (side, side, 3), float32
    draws : Draws

    Returns
    -------
    ndarray of shape (side, side, 3), float32
    """
    if draws.flip_horizontal:
        pixels = pixels[:, ::-1]
    if draws.flip_vertical:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def rotate(pixels: NDArray[np.float32], draws: Draws, fill: Level) -> NDArray[np.float32]:
    """Turn about the centre, counter-clockwise, with bilinear interpolation.

    Parameters
    ----------
    pixels : ndarray of shape (side, side, 3), float32
    draws : Draws
    fill : tuple of 3 floats

    Returns
    -------
    ndarray of shape (side, side, 3), float32
    """
    if draws.rotation_deg == 0:
        return pixels
    side = pixels.shape[0]
    centre = (side - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), draws.rotation_deg, 1)
    turned = cv2.warpAffine(
        pixels, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return np.asarray(turned, dtype=np.float32)


def deform(pixels: NDArray[np.float32], draws: Draws, fill: Level) -> NDArray[np.float32]:
    """Displace every pixel by a smooth random field, with bilinear interpolation.

    Parameters
    ----------
    pixels : ndarray of shape (side, side, 3), float32
    draws : Draws
    fill : tuple of 3 floats

    Returns
    -------
    ndarray of shape (side, side, 3), float32
    """
    if draws.elastic_alpha_px == 0:
        return pixels
    side = pixels.shape[0]
    places = displacement(draws, side)
    steps = np.arange(side, dtype=np.float32)
    places[..., 0] += steps
    places[..., 1] += steps[:, np.newaxis]
    from_x, from_y = cv2.split(places)
    moved = cv2.remap(pixels, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return np.asarray(moved, dtype=np.float32)


def displacement(draws: Draws, side_px: int) -> NDArray[np.float32]:
    """Return the elastic field: uniform noise in [-1, 1], smoothed by a Gaussian, times the amplitude.

    As in Simard et al. (2003, doi:10.1109/ICDAR.2003.1227801). Outside the crop the noise counts as 0, so that
    a crop much smaller than the Gaussian is not swept out of its own frame.

    Parameters
    ----------
    draws : Draws
    side_px : int

    Returns
    -------
    ndarray of shape (side_px, side_px, 2), float32
        In pixels, along x and y.
    """
    noise = (draws.elastic_grid(side_px).astype(np.float32) + np.float32(0.5)) / np.float32(128) - np.float32(1)
    if draws.elastic_sigma_px > 0:
        sigma = draws.elastic_sigma_px
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), dtype=np.float32)
    return noise * np.float32(draws.elastic_alpha_px)
