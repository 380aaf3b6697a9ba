"""Images that are nearly the same: another format, size or compression, a little lighter, turned or mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from featstore.dataset.opencv import opencv

__all__ = ["NEAR_BITS", "near_pairs", "perceptual_hash"]

_SIDE_PX, _KEPT = 64, 8

NEAR_BITS = 6
"""Hashes that differ in so many of their 64 bits, or fewer, are of nearly the same image; unrelated ones differ in 32."""


def perceptual_hash(image: NDArray[np.uint8]) -> str:
    """Describe an image by its lowest frequencies, in all eight ways of turning and mirroring it.

    The image is shrunk to 64 pixels each way, and of its cosine transform the signs of the 64 lowest frequencies but
    the mean are kept, against their median (Zauner, 2010, Implementation and Benchmarking of Perceptual Image Hash
    Functions).

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB

    Returns
    -------
    str
        Eight times 16 hexadecimal digits: as it is first. Empty for an image that shows nothing to tell it by.
    """
    cv2 = opencv()
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float64)
    if np.ptp(small) < 2:
        return ""
    return "".join(f"{_bits(turned):016x}" for turned in _turns(small))


def near_pairs(hashes: Sequence[str], bits: int = NEAR_BITS) -> list[tuple[int, int]]:
    """List the pairs of images that are nearly the same, as positions in ``hashes``, the smaller first."""
    known = np.array([place for place, text in enumerate(hashes) if text], dtype=np.intp)
    if not len(known):
        return []
    values = np.array([[int(hashes[place][start : start + 16], 16) for start in range(0, 128, 16)] for place in known])
    values = values.astype(np.uint64)
    found = []
    for row, (first, own) in enumerate(zip(known, values[:, 0], strict=True)):
        apart = np.bitwise_count(values[row + 1 :] ^ own).min(axis=1, initial=64)
        found += [(int(first), int(known[row + 1 + other])) for other in np.flatnonzero(apart <= bits)]
    return found


def _turns(square: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    for picture in (square, square[:, ::-1]):
        for quarter in range(4):
            yield np.rot90(picture, quarter)


def _bits(square: NDArray[np.float64]) -> int:
    frequencies = dctn(square, norm="ortho")[: _KEPT + 1, : _KEPT + 1].ravel()[1 : _KEPT * _KEPT + 1]
    return int("".join("1" if value > np.median(frequencies) else "0" for value in frequencies), 2)
