"""An image as stain and ink see it: how much light each colour loses, relative to the glass, at a working size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.opencv import opencv

__all__ = ["Absorbance", "absorbance_of", "opened"]

Mask = NDArray[np.bool_]

WORKING_PX = 420_000
"""Images are averaged over whole pixels down to about this many: a field of 1024 x 1400 to its half."""

COARSE = 2
"""Pixels of the working size to one of the coarse size, along each side, which what is wide is looked for at."""

WHITE_FLOOR = 180
"""Glass is never darker; the brightest percent of a field without glass is pale tissue, and stays coloured."""

GLASS_DENSITY = 0.12
"""Less absorbance than this in all three colours together is glass and its dirt; pale eosin has 0.2."""

BLACK_CEILING = 40
"""Nothing darker than this in all channels is tissue: scanners pad with black, and nuclei keep some blue."""


@dataclass(frozen=True, eq=False)
class Absorbance:
    """An image at its working size.

    Attributes
    ----------
    shape : tuple of 2 ints
        Height and width of the image, in pixels.
    step : int
        Pixels of the image to one of the working size, along each side.
    levels : ndarray of shape (h, w, 3), uint8
        RGB, averaged.
    density : ndarray of shape (h, w, 3), float32
        Decadic absorbance of red, green and blue, ``log10(glass / light)``: of stains and inks it is the sum over what
        lies above each other (Lambert and Beer; Ruifrok & Johnston, 2001, PMID 11531144).
    """

    shape: tuple[int, int]
    step: int
    levels: NDArray[np.uint8]
    density: NDArray[np.float32]

    @cached_property
    def coarse(self) -> NDArray[np.float32]:
        """Density at the coarse size, smoothed over 3 of its pixels: over nuclei and specks of dye."""
        cv2 = opencv()
        height, width = (max(1, side // COARSE) for side in self.density.shape[:2])
        small = cv2.resize(self.density, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.blur(small, (3, 3)), np.float32)

    @cached_property
    def silhouette(self) -> Mask:
        """What is neither glass nor black, at the coarse size."""
        red, green, blue = opencv().split(self.coarse)
        black = -np.log10((BLACK_CEILING + 1) / 256)
        return np.asarray((red + green + blue > GLASS_DENSITY) & (np.minimum(np.minimum(red, green), blue) < black))

    def reduced(self, mask: NDArray[Any]) -> Mask:
        """Bring a mask of the image's size to the working size; the middle of each block decides."""
        height, width = self.density.shape[:2]
        half = self.step // 2
        return np.asarray(mask[half :: self.step, half :: self.step][:height, :width] > 0)

    def enlarged(self, mask: Mask) -> Mask:
        """Bring a mask of the working or the coarse size to the image's; what is left over at the edges goes on."""
        cv2 = opencv()
        height, width = (side * self.step for side in self.density.shape[:2])
        large = cv2.resize(mask.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        below, right = self.shape[0] - height, self.shape[1] - width
        if below or right:
            large = cv2.copyMakeBorder(large, 0, below, 0, right, cv2.BORDER_REPLICATE)
        return np.asarray(large, np.uint8).view(np.bool_)


def absorbance_of(image: NDArray[np.uint8]) -> Absorbance:
    """Measure what the light lost on its way through the slide.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        RGB, of one pixel or more.

    Returns
    -------
    Absorbance
    """
    cv2 = opencv()
    height, width = image.shape[:2]
    step = max(1, min(round((height * width / WORKING_PX) ** 0.5), height, width))
    levels = np.ascontiguousarray(image)
    if step > 1:
        whole = image[: height // step * step, : width // step * step]
        levels = cv2.resize(whole, (width // step, height // step), interpolation=cv2.INTER_AREA)
    table = -np.log10((np.arange(256)[:, None] + 1) / (_white(levels) + 1))
    density = cv2.LUT(levels, np.maximum(table, 0).astype(np.float32)[None])
    return Absorbance((height, width), step, levels, density)


def opened(mask: Mask, side_px: int, *, close: bool = False) -> Mask:
    """Remove from a mask what is narrower than a disc; or fill gaps that are."""
    cv2 = opencv()
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(side_px, 1),) * 2)
    how = cv2.MORPH_CLOSE if close else cv2.MORPH_OPEN
    return np.asarray(cv2.morphologyEx(mask.view(np.uint8), how, disc), np.uint8).view(np.bool_)


def _white(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Take the brightest percent of each channel for glass, so that the lamp's colour does not count."""
    pixels = levels.reshape(-1, 3)
    counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels[:: max(1, len(pixels) // 65536)].T])
    from_top = np.cumsum(counts[:, ::-1], axis=1)
    place = from_top[:, -1:] // 100
    return np.asarray(np.maximum(255.0 - np.argmax(from_top > place, axis=1), WHITE_FLOOR), np.float64)
