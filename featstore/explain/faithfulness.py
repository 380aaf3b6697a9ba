"""Whether a heatmap means something: what the score does when its places are taken away, or come back.

Deletion and insertion curves are those of Petsiuk et al., 2018, arXiv:1806.07421 (RISE); the pointing game is that of
Zhang et al., 2018, doi:10.1007/s11263-017-1059-x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError

__all__ = ["area_under", "deletion_curve", "insertion_curve", "pointing"]

Pixels = NDArray[np.uint8]
Score = Callable[[list[Pixels]], NDArray[np.floating]]
"""Takes images and returns the probability of the class for each."""


def deletion_curve(
    score: Score, image: Pixels, baseline: Pixels, heatmap: NDArray[np.floating], *, steps: int = 20, seed: int = 0
) -> NDArray[np.float64]:
    """Replace an image by a baseline, the hottest pixels first, and follow the score. A good map lets it fall at once.

    Parameters
    ----------
    score : callable
        From a list of images to an array of as many numbers.
    image : ndarray of shape (height, width, 3), uint8
    baseline : ndarray of shape (height, width, 3), uint8
        What an image without a signal looks like.
    heatmap : ndarray of shape (height, width)
        Pixels of one value are taken in an order drawn at random. Those that are NaN are not touched.
    steps : int
        Equal parts in which the pixels are replaced.
    seed : int

    Returns
    -------
    ndarray of shape (steps + 1,), float64
        The score, first of the untouched image.

    Raises
    ------
    DataError
        If shapes don't agree, or no pixel is to be touched.
    """
    return _curve(score, image, baseline, heatmap, steps, seed)


def insertion_curve(
    score: Score, image: Pixels, baseline: Pixels, heatmap: NDArray[np.floating], *, steps: int = 20, seed: int = 0
) -> NDArray[np.float64]:
    """Let an image come out of a baseline, the hottest pixels first. A good map lets the score rise at once.

    Parameters and result are those of `deletion_curve`; the first score is that of the baseline in the image's place.
    """
    return _curve(score, np.where(np.isnan(heatmap)[..., None], image, baseline), image, heatmap, steps, seed)


def area_under(curve: NDArray[np.floating]) -> float:
    """Return the area under a curve over the share of pixels, from 0 to 1: the mean of the score on the way."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def pointing(heatmap: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Tell whether a heatmap's maximum lies in a region: 1 or 0; of several maxima the share that does.

    Raises
    ------
    DataError
        If shapes don't agree, or the heatmap has no number.
    """
    if heatmap.shape != region.shape or np.isnan(heatmap).all():
        raise DataError(
            f"a heatmap of shape {heatmap.shape} and a region of shape {region.shape}",
            expected="one shape, and numbers",
        )
    return float(region[heatmap == np.nanmax(heatmap)].mean())


def _curve(
    score: Score, start: Pixels, end: Pixels, heatmap: NDArray[np.floating], steps: int, seed: int
) -> NDArray[np.float64]:
    if not start.shape == end.shape == (*heatmap.shape, 3) or np.isnan(heatmap).all() or steps < 1:
        raise DataError(
            f"an image of shape {start.shape}, a baseline of shape {end.shape}, a heatmap of shape {heatmap.shape}, "
            f"{steps} steps",
            expected="images of the heatmap's height and width, a pixel to replace, and 1 step or more",
        )
    return np.asarray(score(list(_replaced(start, end, heatmap, steps, seed))), dtype=np.float64)


def _replaced(start: Pixels, end: Pixels, heatmap: NDArray[np.floating], steps: int, seed: int) -> Iterator[Pixels]:
    """Yield the image after each step; the first is where it starts."""
    values = heatmap.ravel()
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(~np.isnan(values)))
    order = shuffled[np.argsort(-values[shuffled], kind="stable")]
    now, target = start.reshape(-1, 3).copy(), end.reshape(-1, 3)
    yield now.reshape(start.shape).copy()
    for part in np.array_split(order, steps):
        now[part] = target[part]
        yield now.reshape(start.shape).copy()
