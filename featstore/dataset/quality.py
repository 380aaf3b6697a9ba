"""What is wrong with an image as a whole: no tissue, out of focus, stained like nothing known, its texture replaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.absorbance import Absorbance, opened
from featstore.dataset.opencv import opencv

__all__ = [
    "BlankLimits",
    "BlurLimits",
    "StainLimits",
    "TextureLimits",
    "foreign_texture",
    "sharpness",
    "stain_angle",
    "tissue_density",
    "tissue_share",
]

Mask = NDArray[np.bool_]

STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))
"""How haematoxylin and eosin absorb red, green and blue, on two stainers' slides: Ruifrok & Johnston, 2001, PMID
11531144, and the reference of Macenko et al., 2009, doi:10.1109/ISBI.2009.5193250. Others lie between."""

BANDS = 5
"""Octaves of detail that are compared, from the finest on."""
BAND_PX = 1.0
"""Standard deviation of the blur whose loss is an octave's detail, in pixels of that octave."""
LEAST_PX = 100
"""An octave is measured where it has this many pixels of tissue, off its edges."""


@dataclass(frozen=True)
class BlankLimits:
    """Thresholds of emptiness.

    Attributes
    ----------
    tissue : float
        Least share of the image that is neither glass nor black.
    spread : float
        An image whose channels all vary by less than this standard deviation, in grey levels, shows nothing, of
        whatever colour it is.
    """

    tissue: float = 0.002
    spread: float = 1.5


@dataclass(frozen=True)
class BlurLimits:
    """Threshold of focus.

    Attributes
    ----------
    sharpness : float
        Least `sharpness`. Twelve fields have 0.57 and more, under a Gaussian blur of 1 px 0.29 and more, of 2 px 0.17
        to 0.25, of 3 px 0.16 and less. Images of nuclei several times as large, and so less sharply drawn, have
        0.165 and more: there the limit has little room, and what is found at such a magnification is worth a look.
    """

    sharpness: float = 0.162


@dataclass(frozen=True)
class StainLimits:
    """What haematoxylin and eosin can be, in the mean of an image's tissue.

    Attributes
    ----------
    angle : float
        Largest angle, in degrees, between how the tissue absorbs and any mixture of the stains. Twelve real fields
        have 0, nuclei in violet without eosin up to 9; grey has 13, DAB 19, skin and marker ink 18 to 30.
    faint : float
        Least absorbance of red, green and blue together: as pale as this is fat. Fields have 0.4 to 1.1.
    dark : float
        Largest absorbance: above it, less than a fifth of the light is left in each channel.
    """

    angle: float = 12.0
    faint: float = 0.13
    dark: float = 2.2


@dataclass(frozen=True)
class TextureLimits:
    """What tells that tissue was replaced by skin, wood, or whatever is brown or olive.

    Haematoxylin and eosin absorb green light most. A replaced texture absorbs blue most, all over the tissue.

    Attributes
    ----------
    blue_excess : float
        By how much of the whole absorbance blue exceeds green. White light is that of the glass, so that a warm lamp
        is allowed for.
    red_deficit : float
        By how much it exceeds red: neutral grey and black are no texture.
    share : float
        Largest share of the image's tissue that may be so: it is 0 in twelve fields, up to 0.16 in nucleus images, and
        0.98 and more where skin was painted in.
    """

    blue_excess: float = 0.02
    red_deficit: float = 0.06
    share: float = 0.4


def tissue_share(seen: Absorbance, tissue: Mask, limits: BlankLimits) -> float:
    """Measure how much of the image shows tissue; 0 for one that shows nothing, of whatever colour."""
    spread = opencv().meanStdDev(seen.levels)[1].max()
    return float(tissue.mean()) if spread >= limits.spread else 0.0


def sharpness(image: NDArray[np.uint8], tissue: Mask) -> float | None:
    """Compare the finest detail of the tissue with the strongest.

    An octave's detail is what a blur of `BAND_PX` takes away at its resolution (Burt & Adelson, 1983,
    doi:10.1109/TCOM.1983.1095851), as the root mean square on tissue. With ``d1`` of the finest octave, ``d2`` of the
    next and ``d`` of the strongest, the measure is ``d1 / d2 * sqrt(d1 / d)``: how suddenly detail ends, and how far
    below the size of what there is to see. Contrast cancels out, and magnification in part.

    Returns
    -------
    float or None
        About 1 where all is sharp; None where there is too little tissue to tell.
    """
    cv2 = opencv()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    details = []
    for _ in range(BANDS):
        inside = cv2.resize(tissue.view(np.uint8) * np.uint8(255), grey.shape[::-1], interpolation=cv2.INTER_AREA)
        inside = cv2.erode(cv2.threshold(inside, 254, 255, cv2.THRESH_BINARY)[1], np.ones((5, 5), np.uint8))
        if (count := cv2.countNonZero(inside)) < LEAST_PX:
            break
        smooth = cv2.GaussianBlur(grey, (0, 0), BAND_PX)
        details.append(cv2.norm(grey, smooth, cv2.NORM_L2, inside) / count**0.5)
        grey = cv2.pyrDown(grey)
    if len(details) < 2 or min(details) <= 0:
        return None
    return float(details[0] / details[1] * (details[0] / max(details)) ** 0.5)


def tissue_density(seen: Absorbance, tissue: Mask) -> NDArray[np.float64]:
    """Average the absorbance of the tissue: of red, green and blue."""
    return np.array(opencv().mean(seen.coarse, tissue.view(np.uint8))[:3])


def stain_angle(density: NDArray[np.float64]) -> float:
    """Measure how far absorbance is from what haematoxylin and eosin can mix, in degrees."""
    from scipy.optimize import nnls

    stains = np.array(STAINS).T
    amounts, left = nnls(stains, density)
    return float(np.degrees(np.arctan2(left, np.linalg.norm(stains @ amounts))))


def foreign_texture(seen: Absorbance, tissue: Mask, limits: TextureLimits) -> tuple[Mask, float]:
    """Find tissue that absorbs as no stain of the two does; its pixels at the coarse size, its share of the tissue."""
    red, green, blue = opencv().split(seen.coarse)
    total = red + green + blue
    foreign = (blue - green > limits.blue_excess * total) & (blue - red > limits.red_deficit * total)
    foreign &= tissue
    share = float(foreign.sum() / max(tissue.sum(), 1))
    return opened(opened(np.asarray(foreign), 5, close=True), 3), share
