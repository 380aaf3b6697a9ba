"""A crop seen as stain, tissue, fill and glass, at a bounded working size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featstore.encoders.base import Floats, Pixels
from featstore.encoders.stain_texture.fill import Mask, find_fill

__all__ = ["Mask", "View", "look"]

WORKING_SIDE_PX = 168
"""Larger crops are brought down to this; smaller ones stay, because the size of nuclei is information."""

MARGIN = 8
"""Working pixels of fill that stay around what is seen; the rest holds nothing to describe, and takes time."""

GLASS_LEVEL = 207.0
"""Geometric mean of the channels above which nothing was stained: a mean optical density of 0.09."""

BLACK_LEVEL = 12
"""No stain is this dark in all three channels: black fill, or the outside of a slide."""

HED_FULL_SCALE = 0.25
"""Amount of stain that becomes 1.0, in scikit-image's units: a sixth of an optical density."""


@dataclass(frozen=True)
class View:
    """What the descriptors look at; all arrays are at working size, cut down to what is seen and a margin.

    Attributes
    ----------
    rgb : ndarray of shape (h, w, 3), float32
        Colours from 0 to 1, lightly smoothed against noise.
    stains : ndarray of shape (h, w, 3), float32
        Haematoxylin, eosin and DAB, from 0 (none) to 1 (as dark as stain gets).
    tissue : ndarray of shape (h, w), bool
        Stained pixels.
    seen : ndarray of shape (h, w), bool
        All but the fill: tissue and glass.
    tissue_share, fill_share, glass_share : float
        Shares of the whole crop.
    side_px : int
        Longer side of the crop.
    crop_px : float
        Its area.
    scale : float
        Pixels of the crop in one working pixel, 1 or more.
    """

    rgb: Floats
    stains: Floats
    tissue: Mask
    seen: Mask
    tissue_share: float
    fill_share: float
    glass_share: float
    side_px: int
    crop_px: float
    scale: float


def look(crop: Pixels) -> View:
    """Bring a crop to its working size and find stain, tissue, fill and glass in it.

    Stains are unmixed with the fixed vectors of Ruifrok and Johnston (2001, Anal Quant Cytol Histol 23:291), as
    scikit-image has them.
    """
    import cv2
    from skimage.color import rgb2hed

    side, area = max(crop.shape[:2]), float(crop.shape[0] * crop.shape[1])
    scale = max(1.0, side / WORKING_SIDE_PX)
    if scale > 1:
        height, width = (max(1, round(length / scale)) for length in crop.shape[:2])
        crop = np.asarray(cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    # Downsizing smooths by itself; a crop at its own size is smoothed, or noise would be most of its fine texture.
    sigma = max(0.3, 1.0 / scale)
    fill = find_fill(np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8))
    window = _window(~fill)
    seen = ~fill[window]
    smooth = _smooth_within(crop[window].astype(np.float32), seen, sigma)
    glass = seen & _find_blank(smooth)
    rgb = np.clip(smooth / 255.0, 1 / 255.0, 1.0).astype(np.float32)
    stains = np.clip(rgb2hed(rgb) / HED_FULL_SCALE, 0.0, 1.0).astype(np.float32)
    return View(
        rgb=rgb,
        stains=stains,
        tissue=seen & ~glass,
        seen=seen,
        tissue_share=float((seen & ~glass).sum() / fill.size),
        fill_share=float(fill.mean()),
        glass_share=float(glass.sum() / fill.size),
        side_px=side,
        crop_px=area,
        scale=scale,
    )


def _window(seen: Mask) -> tuple[slice, slice]:
    """Box of what is seen with `MARGIN` around it, within the crop; all of the crop when nothing is."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if len(rows) == 0:
        return slice(None), slice(None)
    top, left = max(0, int(rows[0]) - MARGIN), max(0, int(columns[0]) - MARGIN)
    return slice(top, int(rows[-1]) + 1 + MARGIN), slice(left, int(columns[-1]) + 1 + MARGIN)


def _smooth_within(pixels: Floats, seen: Mask, sigma: float) -> Floats:
    """Smooth without mixing the fill's grey into the tissue's edge, where it would pass for stain."""
    import cv2

    weight = seen.astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    mixed = cv2.GaussianBlur(pixels * weight[..., None], (0, 0), sigma)
    return np.asarray(np.where(seen[..., None], mixed / np.maximum(total, 1e-3), pixels), np.float32)


def _find_blank(smooth: Floats) -> Mask:
    """Find what no stain has touched: glass, and the black of no light at all."""
    import cv2

    red, green, blue = cv2.split(smooth)
    # The mean optical density of three channels is the density of their geometric mean.
    glass = red * green * blue > GLASS_LEVEL**3
    black = cv2.inRange(smooth, (0, 0, 0), (BLACK_LEVEL,) * 3) > 0
    return np.asarray(glass | black)
