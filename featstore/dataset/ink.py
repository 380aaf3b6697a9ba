"""The ink of pens, pixel by pixel: green, blue, red and black, on tissue and on glass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.absorbance import GLASS_DENSITY, Absorbance, opened
from featstore.dataset.opencv import opencv

__all__ = ["INKS", "Ink", "InkLimits", "find_ink"]

Mask = NDArray[np.bool_]

INKS = ("green", "blue", "red", "black")

INSIDE_PX = 5
"""Where ink begins is known by the mean of a window that reaches over its edge: this much, of the working size, is not
taken for granted."""

GREY_LEVELS = 2
"""Channels of a grey image differ by no more; those of black ink, scanned in colour, by 7 and more."""

PADDING_LEVEL = 12
"""What scanners pad with is this dark in every channel; the blackest ink measured has 16."""
PADDING_EXTENT = 0.9
"""And it fills this much of its bounding box, which has an edge on the image's: a stroke of a pen does not."""
PADDING_SPREAD = 1.5
"""Or, around a corner, its levels differ by no more than this standard deviation; those of ink by several."""


@dataclass(frozen=True)
class InkLimits:
    """Thresholds of the search for ink.

    Of a pixel's absorbance in all, ``t``, the parts of red, green and blue are ``r + g + b = 1``. Haematoxylin and
    eosin both absorb green light most; every ink absorbs some other light as much or more. Of three numbers the first
    holds for ink that begins, in the mean of a small window, the second for dense ink that begins (tissue shines
    through it, and adds its own colour), the third for pixels that it goes on over, as far as ``reach_px``: the
    hysteresis of Canny, 1986, doi:10.1109/TPAMI.1986.4767851.

    The figures in brackets: the median of ink on the slides of HistoQC (Janowczyk et al., 2019,
    doi:10.1200/CCI.18.00157), then what tissue reaches, smoothed, in twelve fields of two slides.

    Attributes
    ----------
    green : tuple of 3 floats
        Least ``r - g`` of green (0.43; below -0.1 but for surgical dye, which is green ink as well). Its ``b`` exceeds
        ``blue_part`` of its ``g``, and is below its ``r``, which that of black is not.
    blue : tuple of 3 floats
        The same of blue (0.2; 0.05 at the rims of violet nuclei, -0.3 within them).
    blue_part : tuple of 3 floats
        Of blue ink, ``b`` is below this part of ``g`` (0.23), of green ink above it (1.3). Of haematoxylin it is
        0.41 and more, so that dense blue is told from nuclei.
    red : tuple of 3 floats
        Least ``b - r`` of red (0.34; 0.23 in warm eosin, in a few pixels of a pool of blood 0.28).
    red_green : float
        Least ``g`` of red (0.53): brown, whose ``b - r`` is as large, has 0.32.
    black : tuple of 3 floats
        Largest difference between any two parts (0.07; 0.2 in dense nuclei).
    density : tuple of 3 floats
        Least ``t`` of coloured ink.
    black_density : tuple of 3 floats
        Least ``t`` of black ink: 1.3 leaves a third of the light in each channel.
    coloured : float
        Least share of what absorbs light that has a colour, where black is looked for: of a grey image all is grey.
    reach_px : int
        How far ink goes on beyond where it was certain, in pixels of the working size.
    width_px : int
        A pen is broader than this, in pixels of the coarse size; specks of dye and nuclei are not.
    least_piece : float
        Connected pieces below this share of the image are no pen.
    share : float
        Largest share of the image that one connected piece may cover. The largest speck of surgical dye, on the margin
        of skin, covers 0.004; a stroke of 20 px across half a field 0.01.
    tissue : float
        Largest share of the tissue in use that may be under ink.
    """

    green: tuple[float, float, float] = (0.18, -0.05, 0.03)
    blue: tuple[float, float, float] = (0.08, -0.15, -0.15)
    blue_part: tuple[float, float, float] = (0.6, 0.38, 0.5)
    red: tuple[float, float, float] = (0.26, 0.24, 0.23)
    red_green: float = 0.43
    black: tuple[float, float, float] = (0.12, 0.15, 0.20)
    density: tuple[float, float, float] = (0.35, 0.8, 0.2)
    black_density: tuple[float, float, float] = (1.0, 1.3, 0.8)
    coloured: float = 0.1
    reach_px: int = 6
    width_px: int = 3
    least_piece: float = 0.0002
    share: float = 0.005
    tissue: float = 0.03


@dataclass(frozen=True, eq=False)
class Ink:
    """Where ink of one colour is.

    Attributes
    ----------
    pixels : ndarray of shape (h, w), bool
        At the working size.
    largest : float
        The share of the image that the largest connected piece covers.
    """

    pixels: Mask
    largest: float


def find_ink(seen: Absorbance, limits: InkLimits) -> dict[str, Ink]:
    """Find the ink of pens: for each of `INKS`, where it is."""
    coarse, padding = _Channels(seen.coarse), None
    found = {}
    for ink in INKS:
        certain = _may_be(ink, coarse, limits, 0) | _may_be(ink, coarse, limits, 1)
        certain = opened(certain, limits.width_px) if certain.any() else certain
        if ink == "black" and certain.any():
            padding = _padding(seen.levels)
            certain &= not _is_grey(seen, limits)
        found[ink] = _grown(ink, certain, seen, limits, padding)
    return found


class _Channels:
    """Red, green, blue, and what they are together."""

    def __init__(self, density: NDArray[np.float32]) -> None:
        self.red, self.green, self.blue = opencv().split(density)
        self.total = self.red + self.green + self.blue


def _is_grey(seen: Absorbance, limits: InkLimits) -> bool:
    """Tell whether an image is grey all over: then black ink is not to be told from tissue."""
    levels = seen.levels.reshape(-1, 3)
    spread = levels.max(axis=1) - levels.min(axis=1)
    shown = seen.density.reshape(-1, 3).sum(axis=1) > GLASS_DENSITY
    return bool(np.count_nonzero(spread[shown] > GREY_LEVELS) < limits.coloured * np.count_nonzero(shown))


def _may_be(ink: str, seen: _Channels, limits: InkLimits, step: int) -> Mask:
    red, green, blue, total = seen.red, seen.green, seen.blue, seen.total
    if ink == "black":
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        return np.asarray((total > limits.black_density[step]) & (spread < limits.black[step] * total))
    dense = total > limits.density[step]
    if ink == "red":
        return np.asarray(dense & (blue - red > limits.red[step] * total) & (green > limits.red_green * total))
    if ink == "green":
        teal = (blue > limits.blue_part[0] * green) & (blue < red)
        return np.asarray(dense & teal & (red - green > limits.green[step] * total))
    return np.asarray(dense & (blue < limits.blue_part[step] * green) & (red - green > limits.blue[step] * total))


def _grown(ink: str, certain: Mask, seen: Absorbance, limits: InkLimits, padding: Mask | None) -> Ink:
    """Let ink go on from where it is certain."""
    pixels = np.zeros(seen.density.shape[:2], np.bool_)
    if not certain.any():
        return Ink(pixels, 0.0)
    cv2 = opencv()
    begin = cv2.resize(certain.view(np.uint8), pixels.shape[::-1], interpolation=cv2.INTER_NEAREST)
    if padding is not None:
        begin[padding] = 0
    box = _box(begin, 2 * limits.reach_px)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * limits.reach_px + 1,) * 2)
    near = cv2.dilate(begin[box], disc).view(np.bool_)
    goes_on = _may_be(ink, _Channels(seen.density[box]), limits, 2)
    # gaps of a hair's breadth closed: the streaks of a dry pen belong together
    inside = cv2.erode(begin[box], np.ones((INSIDE_PX,) * 2, np.uint8)).view(np.bool_)
    inked = opened(inside | (near & goes_on), 3, close=True)
    pixels[box], largest = _pieces(inked, begin[box], limits.least_piece * pixels.size)
    return Ink(pixels, largest / pixels.size)


def _box(mask: NDArray[np.uint8], margin: int) -> tuple[slice, slice]:
    left, top, width, height = opencv().boundingRect(mask)
    rows = slice(max(0, top - margin), top + height + margin)
    return rows, slice(max(0, left - margin), left + width + margin)


def _pieces(inked: Mask, begin: NDArray[np.uint8], least_px: float) -> tuple[Mask, int]:
    """Keep the connected pieces that are large enough and in which ink begins; also give the largest's area."""
    cv2 = opencv()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inked.view(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    kept = (areas >= least_px) & (np.bincount(labels[begin > 0], minlength=count) > 0)
    kept[0] = False
    return np.asarray(kept[labels]), int(areas[kept].max(initial=0))


def _padding(levels: NDArray[np.uint8]) -> Mask:
    """Find the black areas along the edges of an image that a scanner padded."""
    cv2 = opencv()
    red, green, blue = cv2.split(levels)
    brightest = np.maximum(np.maximum(red, green), blue)
    dark = brightest <= PADDING_LEVEL
    if not (dark[0].any() or dark[-1].any() or dark[:, 0].any() or dark[:, -1].any()):
        return np.zeros(dark.shape, np.bool_)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark.view(np.uint8), connectivity=4)
    left, top, width, height, area = stats.T
    at_edge = (left == 0) | (top == 0) | (left + width == dark.shape[1]) | (top + height == dark.shape[0])
    sums = (np.bincount(labels.ravel(), (brightest.astype(np.float32) ** power).ravel()) for power in (1, 2))
    mean, square = (total / np.maximum(area, 1) for total in sums)
    even = square - mean**2 < PADDING_SPREAD**2
    padding = at_edge & (even | (area >= PADDING_EXTENT * width * height))
    padding[0] = False
    # its rim is averaged with what lies beside it
    found = cv2.dilate(padding[labels].view(np.uint8), np.ones((7, 7), np.uint8))
    return np.asarray(found, np.uint8).view(np.bool_)
