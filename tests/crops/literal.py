"""The literal way to augment a crop: every operation at its own size, in order. The fast way is held against it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops.colour import DARKEST, STAINS
from featstore.crops.cut import fill_colour
from featstore.crops.draws import Draws
from featstore.crops.geometry import cell_px
from featstore.crops.repeat import erase, normal_quantiles
from featstore.recipe.crops import Colour

Level = tuple[float, float, float]
"""A colour, RGB from 0 to 1."""


def augment_literally(crop: NDArray[np.uint8], draws: Draws, fill: Colour) -> NDArray[np.uint8]:
    """Flip, rotate, change colours and stains, deform, blur, add noise, erase; float32 from 0 to 1 in between."""
    red, green, blue = (float(level) / 255 for level in fill_colour(fill))
    border = (red, green, blue)
    pixels = crop.astype(np.float32) / np.float32(255)
    pixels = _rotate(_flip(pixels, draws), draws, border)
    pixels = _perturb_stains(_jitter(pixels, draws), draws)
    pixels = _add_noise(_blur(_deform(pixels, draws, border), draws), draws)
    augmented: NDArray[np.uint8] = np.rint(pixels * np.float32(255)).astype(np.uint8)
    erase(augmented, draws, fill)
    return augmented


def displace_literally(draws: Draws, side_px: int) -> NDArray[np.float32]:
    """Smooth noise of all pixels at full size: the elastic field, (side_px, side_px, 2)."""
    cell = cell_px(draws.elastic_sigma_px)
    levels = draws.elastic_grid(-(-side_px // cell)).repeat(cell, axis=0).repeat(cell, axis=1)
    noise = ((levels.astype(np.float32) + np.float32(0.5)) / np.float32(128) - np.float32(1)) / np.float32(cell)
    if draws.elastic_sigma_px > 0:
        sigma = draws.elastic_sigma_px
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT), dtype=np.float32)
    return noise[:side_px, :side_px] * np.float32(draws.elastic_alpha_px)


def _flip(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    if draws.flip_horizontal:
        pixels = pixels[:, ::-1]
    if draws.flip_vertical:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _rotate(pixels: NDArray[np.float32], draws: Draws, fill: Level) -> NDArray[np.float32]:
    if draws.rotation_deg == 0:
        return pixels
    side = pixels.shape[0]
    centre = (side - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), draws.rotation_deg, 1)
    turned = cv2.warpAffine(
        pixels, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    return np.asarray(turned, dtype=np.float32)


def _deform(pixels: NDArray[np.float32], draws: Draws, fill: Level) -> NDArray[np.float32]:
    if draws.elastic_alpha_px == 0:
        return pixels
    side = pixels.shape[0]
    places = displace_literally(draws, side)
    steps = np.arange(side, dtype=np.float32)
    places[..., 0] += steps
    places[..., 1] += steps[:, np.newaxis]
    from_x, from_y = cv2.split(places)
    moved = cv2.remap(pixels, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    return np.asarray(moved, dtype=np.float32)


def _jitter(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    if draws.brightness != 1:
        pixels = _blend(pixels, np.float32(0), draws.brightness)
    if draws.contrast != 1:
        pixels = _blend(pixels, _grey(pixels).mean(dtype=np.float64).astype(np.float32), draws.contrast)
    if draws.saturation != 1:
        pixels = _blend(pixels, _grey(pixels)[..., np.newaxis], draws.saturation)
    if draws.hue != 0:
        pixels = _turn_hue(pixels, draws.hue)
    return pixels


def _perturb_stains(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    if draws.stain_alpha == (1.0, 1.0, 1.0) and draws.stain_beta == (0.0, 0.0, 0.0):
        return pixels
    # Rows of STAINS turn stain amounts into densities: density = amount @ STAINS, amount = density @ inverse.
    mix = np.linalg.inv(STAINS) @ np.diag(draws.stain_alpha) @ STAINS
    shift = np.asarray(draws.stain_beta) @ STAINS
    # The map works on ln(colour), the negative density, so the shift changes its sign.
    affine = np.column_stack([mix.T, -shift])
    light = cv2.exp(cv2.transform(cv2.log(np.maximum(pixels, DARKEST)), affine))
    return np.minimum(np.asarray(light, dtype=np.float32), np.float32(1))


def _blend(pixels: NDArray[np.float32], other: np.float32 | NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    mixed = pixels * np.float32(factor)
    mixed += other * np.float32(1 - factor)
    return np.clip(mixed, 0, 1, out=mixed)


def _grey(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _turn_hue(pixels: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    hsv = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), dtype=np.float32)
    hsv[..., 0] = np.mod(hsv[..., 0] + np.float32(360 * share), np.float32(360))
    turned = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.float32)
    return np.clip(turned, 0, 1, out=turned)


def _blur(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    if not draws.blur or draws.blur_sigma_px <= 0:
        return pixels
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), draws.blur_sigma_px), dtype=np.float32)


def _add_noise(pixels: NDArray[np.float32], draws: Draws) -> NDArray[np.float32]:
    if draws.noise_sigma == 0:
        return pixels
    noise = normal_quantiles()[draws.noise_grid(pixels.shape[0])]
    noise *= np.float32(draws.noise_sigma)
    noise += pixels
    return np.clip(noise, 0, 1, out=noise)
