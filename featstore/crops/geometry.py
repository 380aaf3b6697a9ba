"""Moving the pixels of a crop: flips, rotation and elastic deformation as one map of where each pixel comes from."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops.draws import Draws

__all__ = ["cell_px", "displacement", "move", "smooth"]

NARROW_PX = 0.6
"""A Gaussian narrower than this is not sampled."""

_IN_ONE = np.empty(0, dtype=np.float32)
"""Stands for OpenCV's second map, where the first has both x and y."""


def move(
    pixels: NDArray[np.uint8], draws: Draws, side_px: int, size_px: int, fill: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Flip, turn about the centre (counter-clockwise) and displace, with one bilinear interpolation.

    Parameters
    ----------
    pixels : ndarray of shape (working, working, 3), uint8
    draws : Draws
    side_px : int
        Side of the crop that was brought to the working size: lengths are in its pixels.
    size_px : int
        Side of the result.
    fill : ndarray of shape (3,), uint8
        The colour of what comes from outside.

    Returns
    -------
    ndarray of shape (size_px, size_px, 3), uint8
    """
    if draws.rotation_deg == 0 and draws.elastic_alpha_px == 0 and size_px == len(pixels):
        across, down = (slice(None, None, -1 if flip else 1) for flip in (draws.flip_horizontal, draws.flip_vertical))
        return np.ascontiguousarray(pixels[down, across])
    places = displacement(draws, side_px, size_px)
    places += _grid(size_px)
    places = np.asarray(cv2.transform(places, _back(draws, size_px, len(pixels))), dtype=np.float32)
    # In whole pixels and 32nds: OpenCV then interpolates in integers, faster, and the same way in all its versions.
    sources, parts = cv2.convertMaps(places, _IN_ONE, cv2.CV_16SC2)
    border = tuple(fill.tolist())
    moved = cv2.remap(pixels, sources, parts, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return np.asarray(moved, dtype=np.uint8)


def displacement(draws: Draws, side_px: int, size_px: int) -> NDArray[np.float32]:
    """Return the elastic field: uniform noise in [-1, 1], smoothed by a Gaussian, times the amplitude.

    As in Simard et al. (2003, doi:10.1109/ICDAR.2003.1227801). Outside the crop the noise counts as 0, so that a crop
    much smaller than the Gaussian is not swept out of its own frame.

    Noise that a Gaussian of some pixels is to smooth need not be drawn for each pixel: it is drawn for square cells of
    `cell_px`, and weaker by as much as they are wide. The smoothed field varies as much and as smoothly, and is the
    same at any size of the result.

    Parameters
    ----------
    draws : Draws
    side_px : int
        Side of the crop; amplitude and smoothness are in its pixels.
    size_px : int
        Side of the square that the field is for.

    Returns
    -------
    ndarray of shape (size_px, size_px, 2), float32
        Along x and y, in pixels of that square.
    """
    if draws.elastic_alpha_px == 0:
        return np.zeros((size_px, size_px, 2), dtype=np.float32)
    scale, cell = size_px / side_px, cell_px(draws.elastic_sigma_px)
    noise = draws.elastic_grid(-(-side_px // cell)).astype(np.float32)
    noise -= np.float32(127.5)
    # Cells are wide themselves (a variance of a twelfth), which is not seen here; interpolating adds twice as much.
    sigma = math.sqrt(draws.elastic_sigma_px**2 - (cell**2 - 1) / 12)
    field = smooth(noise, sigma, 1 / cell, cv2.BORDER_CONSTANT)
    field *= np.float32(draws.elastic_alpha_px * scale / (128 * cell))
    if cell * scale == 1:
        return field[:size_px, :size_px]
    # The last cell may reach beyond the crop: by the factor, not by the sizes, all cells stay where they are.
    finer = cv2.resize(field, None, fx=cell * scale, fy=cell * scale, interpolation=cv2.INTER_LINEAR)
    return np.asarray(finer[:size_px, :size_px], dtype=np.float32)


def cell_px(sigma_px: float) -> int:
    """Tell the side of the cells that have one noise each: narrow enough for a Gaussian hardly to show them.

    A Gaussian of 1.75 cells hides the lattice itself; interpolating between its points leaves the spread of the field
    uneven by a few per cent, between the middles of cells and their corners.
    """
    return max(1, int(sigma_px * 4 / 7))


def smooth(pixels: NDArray[np.float32], sigma_px: float, scale: float, border: int) -> NDArray[np.float32]:
    """Smooth by a Gaussian what was brought to a smaller size.

    Parameters
    ----------
    pixels : ndarray of shape (size, size, channels), float32
    sigma_px : float
        In pixels of the crop at its own size; 0 smooths nothing.
    scale : float
        How many pixels a pixel of the crop has become.
    border : int
        What OpenCV is to take for pixels outside.

    Returns
    -------
    ndarray of shape (size, size, channels), float32
    """
    sigma = sigma_px * scale
    if sigma == 0:
        return pixels
    if sigma < NARROW_PX and scale < 1:
        # Samples of so narrow a Gaussian miss most of it; these three weights have its variance.
        weights = np.array([sigma**2 / 2, 1 - sigma**2, sigma**2 / 2])
        return np.asarray(cv2.sepFilter2D(pixels, -1, weights, weights, borderType=border), dtype=np.float32)
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=border), dtype=np.float32)


def _back(draws: Draws, size_px: int, working_px: int) -> NDArray[np.float64]:
    """Return the affine map from places about the centre of the result to pixels of the working size."""
    angle, larger, centre = math.radians(draws.rotation_deg), working_px / size_px, (working_px - 1) / 2
    across, down = (-larger if flip else larger for flip in (draws.flip_horizontal, draws.flip_vertical))
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[across * cosine, -across * sine, centre], [down * sine, down * cosine, centre]])


@lru_cache(maxsize=2)
def _grid(size_px: int) -> NDArray[np.float32]:
    """Return the place of each pixel about the centre, along x and y."""
    steps = np.arange(size_px, dtype=np.float32) - np.float32((size_px - 1) / 2)
    return np.stack(np.meshgrid(steps, steps), axis=-1)
