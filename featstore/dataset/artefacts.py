"""The colour filter: how much of the tissue is green, brown or yellow, which haematoxylin and eosin never are.

It finds what was pasted over or painted into an image: slime, skin textures, green marker ink.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.opencv import opencv
from featstore.dataset.reasons import Reason

__all__ = ["ColourLimits", "ColourShares", "colour_pixels", "colour_shares", "contamination", "contamination_note"]

SAMPLE = 1 << 16
"""Pixels looked at, evenly spread over the tissue: a share of 3 % is then known within 0.07 points, in milliseconds."""

_REASONS = {
    "green": Reason.CONTAMINATED_GREEN,
    "brown": Reason.CONTAMINATED_BROWN,
    "yellow": Reason.CONTAMINATED_YELLOW,
}


@dataclass(frozen=True)
class ColourLimits:
    """Thresholds of the colour filter; hue, saturation and value are OpenCV's (0 to 179, 0 to 255, 0 to 255).

    The measured figures are of 12 fields of two slides at full resolution, 103 nucleus images of three stains and 3
    tiles of another slide, none of them contaminated. To let a colour pass whatever its share, set its limit to 1:
    brown for immunohistochemistry (a DAB slide is 62 % brown), yellow and brown for saffron stains.

    Attributes
    ----------
    min_saturation : int
        Paler pixels have no colour of their own: glass under a yellowish lamp reaches 50.
    min_value : int
        The hue of darker pixels is noise; the darkest nuclei lie below.
    green_hue : tuple of 2 ints
        From yellow-green to teal (70 to 180 degrees). Green ink lies around the upper end, haematoxylin above it.
    brown_hue : tuple of 2 ints
        From orange to yellow-green. Eosin and blood reach 5 (10 degrees) from the side of red.
    brown_max_value : int
        Brown is dark orange: eosin that a warm lamp turns orange is brighter than this.
    yellow_hue : tuple of 2 ints
        From golden to yellow-green, in pixels that are brighter than brown. What is bright and more orange than this
        counts as nothing: warm eosin is found there.
    green : float
        Largest share of the tissue that may be green. Real fields have at most 0.008, from specks of surgical dye; a
        blob pasted on covers 0.05 and more; a tile with green ink has 0.16.
    brown : float
        Largest share that may be brown. Real fields have at most 0.001, and 0.03 under a very warm lamp (blue at 70 %);
        pigment and cautery give a few hundredths; a replaced texture is brown or green nearly everywhere.
    yellow : float
        Largest share that may be yellow. Real fields have at most 0.001, and under the very warm lamp 0.03, one pale
        image 0.19.
    """

    min_saturation: int = 64
    min_value: int = 50
    green_hue: tuple[int, int] = (35, 90)
    brown_hue: tuple[int, int] = (6, 35)
    brown_max_value: int = 180
    yellow_hue: tuple[int, int] = (18, 35)
    green: float = 0.03
    brown: float = 0.2
    yellow: float = 0.25


@dataclass(frozen=True)
class ColourShares:
    """Shares of the tissue's pixels, from 0 to 1."""

    green: float = 0.0
    brown: float = 0.0
    yellow: float = 0.0


def colour_shares(
    image: NDArray[np.uint8], tissue: NDArray[Any] | None = None, limits: ColourLimits | None = None
) -> ColourShares:
    """Measure the shares of green, brown and yellow among the tissue's pixels.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        RGB.
    tissue : ndarray of shape (height, width), bool or uint8, optional
        Above 0 where there is tissue: the mask in use. Without it, tissue is what is not pale.
    limits : ColourLimits, optional
        What counts as which colour.

    Returns
    -------
    ColourShares
        All 0 where there is no tissue.
    """
    flat = image.reshape(-1, 3)
    chosen = np.flatnonzero(tissue) if tissue is not None else np.arange(len(flat))
    pixels = _hsv(flat[chosen[:: -(-len(chosen) // SAMPLE) or 1]][:, None])
    if tissue is None:
        # saturation of stain, or a pixel too dark for glass
        pixels = pixels[(pixels[..., 1] >= 25) | (pixels[..., 2] < 150)]
    if not pixels.size:
        return ColourShares()
    classes = _classes(pixels.reshape(-1, 1, 3), limits or ColourLimits())
    green, brown, yellow = (float(np.mean(classes == number)) for number in (1, 2, 3))
    return ColourShares(green, brown, yellow)


def colour_pixels(image: NDArray[np.uint8], limits: ColourLimits | None = None) -> NDArray[np.uint8]:
    """Tell each pixel's colour.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        RGB.
    limits : ColourLimits, optional
        What counts as which colour.

    Returns
    -------
    ndarray of shape (height, width), uint8
        1 green, 2 brown, 3 yellow, 0 anything else.
    """
    return _classes(_hsv(image), limits or ColourLimits())


def contamination(shares: ColourShares, limits: ColourLimits | None = None) -> Reason | None:
    """Name what an image is contaminated by: of the colours over their limit, the one with the largest share."""
    over = _over(shares, limits or ColourLimits())
    return _REASONS[max(over, key=over.__getitem__)] if over else None


def contamination_note(shares: ColourShares, limits: ColourLimits | None = None) -> str:
    """Say which colours are over their limit and by how much; empty when none is."""
    limits = limits or ColourLimits()
    return "; ".join(
        f"{share:.1%} of the tissue is {colour}, at most {getattr(limits, colour):.0%} may be"
        for colour, share in _over(shares, limits).items()
    )


def _over(shares: ColourShares, limits: ColourLimits) -> dict[str, float]:
    measured = {colour: float(getattr(shares, colour)) for colour in _REASONS}
    return {colour: share for colour, share in measured.items() if share > getattr(limits, colour)}


def _hsv(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if not image.size:
        return image
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV), np.uint8)


def _classes(hsv: NDArray[np.uint8], limits: ColourLimits) -> NDArray[np.uint8]:
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    coloured = (saturation >= limits.min_saturation) & (value >= limits.min_value)
    dark = value < limits.brown_max_value
    classes = np.zeros(hue.shape, np.uint8)
    classes[coloured & ~dark & _between(hue, limits.yellow_hue)] = 3
    classes[coloured & dark & _between(hue, limits.brown_hue)] = 2
    classes[coloured & _between(hue, limits.green_hue)] = 1
    return classes


def _between(hue: NDArray[np.uint8], limits: tuple[int, int]) -> NDArray[np.bool_]:
    return (hue >= limits[0]) & (hue < limits[1])
