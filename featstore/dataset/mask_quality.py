"""How well a mask fits its image: what it covers, whether it lies on tissue, whether it follows what is seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.opencv import opencv
from featstore.dataset.tissue import find_tissue

__all__ = ["MaskLimits", "MaskQuality", "clean_mask", "measure_mask"]

_SIDE_PX = 160
"""Longest side of the pictures on which a mask is compared with its image: some milliseconds, and a place within 1%."""

_MEDIAN_PX = 5
_SPECK_PX = 2
_DARK_FIELD = 64
"""Where half of an image is darker, things shine on a dark ground, as in fluorescence."""
_OVERLAP = 0.45
"""A mask is moved about as long as so much of it stays on the image."""


@dataclass(frozen=True)
class MaskLimits:
    """Thresholds at which a mask is poor; all of them are shares, from 0 to 1, but for correlations, from -1 to 1.

    The measured figures are of 115 masks of real fields and nucleus images, and of 96 made-up ones.

    Attributes
    ----------
    coverage : float
        At least this share of the image; less is next to empty.
    noise : float
        At most this share of the mask's area may be specks and holes of one or two pixels.
    agreement : float
        At least this share of the mask lies on tissue that is found on the image. Asked only where there is tissue.
    inverted, border : float
        A correlation with what absorbs light below the first, along more of the image's border than the second: the
        mask is of everything else. True ones have 0.2 and more.
    misplaced : float
        A mask that correlates at another place is misplaced, if here it reaches less than this share of that.
    found_again, sharp : float
        The least correlation at the other place, and by how many standard deviations of those at all places it must
        stand out from them. Outlined regions of tissue correlate as well at some places as at others: of 309 that were
        in their place 2 stood out by 5.
    offset : float
        What counts as another place, as a share of the longest side.
    usual_fit : float
        Where four in five masks of a dataset fit at least so well, they follow what is seen;
    unrelated : float
        and one that fits less well than this share of the median may be another image's.
    """

    coverage: float = 1e-4
    noise: float = 0.03
    agreement: float = 0.3
    inverted: float = -0.2
    border: float = 0.5
    misplaced: float = 0.6
    found_again: float = 0.3
    sharp: float = 5.0
    offset: float = 0.04
    usual_fit: float = 0.25
    unrelated: float = 0.35


@dataclass(frozen=True)
class MaskQuality:
    """What was measured of a mask.

    Attributes
    ----------
    coverage : float
        Share of the image that it covers.
    agreement : float
        Share of it that lies on tissue found on the image; 1 where no tissue is found.
    fit : float
        Correlation of the mask with how much red light the image absorbs: nuclei do most, glass nothing.
    best_fit : float
        The largest such correlation with the mask moved about.
    sharpness : float
        By how many standard deviations that stands out from the correlations at all places.
    offset_px : tuple of 2 ints
        Where that is: how far (x, y) the mask has to be moved, in pixels of the image.
    noise : float
        Specks and holes of one or two pixels, as a share of its area.
    fragments : int
        Connected objects.
    border : float
        Share of the image's border that it covers.
    holes : float
        Share of what its outlines enclose that is not mask.
    reasons : tuple of str
        Why it is poor, the worst first: ``empty``, ``inverted``, ``misplaced``, ``off_tissue``, ``noisy``.
    """

    coverage: float = 0.0
    agreement: float = 1.0
    fit: float = 0.0
    best_fit: float = 0.0
    sharpness: float = 0.0
    offset_px: tuple[int, int] = (0, 0)
    noise: float = 0.0
    fragments: int = 0
    border: float = 0.0
    holes: float = 0.0
    reasons: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """From 0 (empty) to 1: the share on tissue, times what is no speck, times the fit here over the best."""
        placed = min(1.0, max(0.0, self.fit / self.best_fit)) if self.best_fit > 0 else 1.0
        return round(self.agreement * (1 - min(1.0, self.noise)) * placed, 4) if self.coverage else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain types."""
        return {**asdict(self), "score": self.score, "offset_px": list(self.offset_px), "reasons": list(self.reasons)}


def measure_mask(image: NDArray[np.uint8], mask: NDArray[np.bool_], limits: MaskLimits | None = None) -> MaskQuality:
    """Measure a mask against its image.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    mask : ndarray of shape (height, width), bool
        True on what is to be looked at.
    limits : MaskLimits, optional

    Returns
    -------
    MaskQuality
    """
    cv2, limits = opencv(), limits or MaskLimits()
    if not mask.any():
        return MaskQuality(reasons=("empty",))
    whole = np.ascontiguousarray(mask).view(np.uint8)
    fragments, specks = _objects(whole, 8)
    _, pinholes = _objects(1 - whole, 4)
    curves, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(whole), curves, -1, 1, cv2.FILLED)
    edge = np.concatenate([whole[0], whole[-1], whole[1:-1, 0], whole[1:-1, -1]])
    small, shares = _smaller(image, whole)
    fit, best, sharpness, (x, y) = _placed(small, shares)
    scale = max(mask.shape) / max(shares.shape)
    measured = MaskQuality(
        coverage=float(mask.mean()),
        agreement=_agreement(small, shares),
        fit=fit,
        best_fit=best,
        sharpness=sharpness,
        offset_px=(round(x * scale), round(y * scale)),
        noise=(specks + pinholes) / int(whole.sum()),
        fragments=fragments,
        border=float(edge.mean()),
        holes=float(1 - whole.sum() / filled.sum()),
    )
    return MaskQuality(**{**measured.__dict__, "reasons": _reasons(measured, limits, max(mask.shape))})


def clean_mask(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Take specks and holes of a few pixels out of a mask, and what lies off the tissue that is found on the image."""
    filtered = _filtered(np.ascontiguousarray(mask).view(np.uint8)).astype(np.bool_)
    tissue = find_tissue(image)
    return np.asarray(filtered & tissue if tissue.any() else filtered)


def _objects(mask: NDArray[np.uint8], connectivity: int) -> tuple[int, int]:
    """Count the objects of a mask, and the pixels of those of one or two."""
    cv2 = opencv()
    found = cv2.connectedComponentsWithStatsWithAlgorithm(mask, connectivity, cv2.CV_32S, cv2.CCL_DEFAULT)
    areas = found[2][1:, cv2.CC_STAT_AREA]
    return len(areas), int(areas[areas <= _SPECK_PX].sum())


def _filtered(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(opencv().medianBlur(mask, _MEDIAN_PX), np.uint8)


def _smaller(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    cv2 = opencv()
    scale = min(1.0, _SIDE_PX / max(mask.shape))
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    shares = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), shares


def _agreement(image: NDArray[np.uint8], shares: NDArray[np.float32]) -> float:
    tissue = find_tissue(image)
    return float(shares[tissue].sum() / shares.sum()) if tissue.any() else 1.0


def _placed(image: NDArray[np.uint8], shares: NDArray[np.float32]) -> tuple[float, float, float, tuple[int, int]]:
    """Correlate a mask with the image's absorbance of red, here and at all other places: here, the best, how sharp.

    The coefficient is that of the pixels that lie on both, as in Padfield, 2012, doi:10.1109/TIP.2011.2181402, in the
    same way with Fourier transforms.
    """
    from scipy import fft

    mask = shares.astype(np.float64)
    absorbed = -np.log((image[..., 0].astype(np.float64) + 1) / 256)
    absorbed -= absorbed.mean()
    if np.median(image.max(axis=2)) < _DARK_FIELD:
        absorbed = -absorbed
    height, width = absorbed.shape
    padded = fft.next_fast_len(2 * height, real=True), fft.next_fast_len(2 * width, real=True)
    picture, squares, shape, shape_squares, frame = (
        fft.rfft2(values, padded) for values in (absorbed, absorbed**2, mask, mask**2, np.ones_like(absorbed))
    )

    def moved(one: Any, other: Any) -> NDArray[np.float64]:
        return np.asarray(fft.irfft2(one * np.conj(other), padded), np.float64)

    count = np.maximum(np.outer(_overlap(height, padded[0]), _overlap(width, padded[1])), 1)
    sums, masked = moved(picture, frame), moved(frame, shape)
    shared = moved(picture, shape) - sums * masked / count
    spread = moved(squares, frame) - sums**2 / count, moved(frame, shape_squares) - masked**2 / count
    usable = (count >= _OVERLAP * height * width) & (spread[0] > 1e-3) & (spread[1] > 1e-3)
    fit = np.zeros(padded)
    fit[usable] = shared[usable] / np.sqrt(spread[0][usable] * spread[1][usable])
    y, x = (int(place) for place in np.unravel_index(int(fit.argmax()), padded))
    offset = x if x < width else x - padded[1], y if y < height else y - padded[0]
    everywhere = fit[usable] if usable.any() else fit
    spread_of_fit = float(everywhere.std())
    sharpness = float(fit[y, x] - everywhere.mean()) / spread_of_fit if spread_of_fit > 0 else 0.0
    return float(fit[0, 0]), float(fit[y, x]), sharpness, offset


def _overlap(side: int, padded: int) -> NDArray[np.float64]:
    """Tell how much of a side overlaps with itself, moved by each step; those beyond its middle are backwards."""
    steps = np.arange(padded)
    return np.asarray(np.maximum(side - np.minimum(steps, padded - steps), 0), np.float64)


def _reasons(found: MaskQuality, limits: MaskLimits, side_px: int) -> tuple[str, ...]:
    far = max(map(abs, found.offset_px)) > limits.offset * side_px
    elsewhere = found.best_fit >= limits.found_again and found.fit < limits.misplaced * found.best_fit
    inverted = found.fit < limits.inverted and found.border > limits.border
    rules = {
        "empty": found.coverage < limits.coverage,
        "inverted": inverted,
        "misplaced": far and elsewhere and found.sharpness >= limits.sharp and not inverted,
        "off_tissue": found.agreement < limits.agreement,
        "noisy": found.noise > limits.noise,
    }
    return tuple(reason for reason, holds in rules.items() if holds)
