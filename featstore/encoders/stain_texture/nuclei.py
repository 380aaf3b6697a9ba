"""How many nuclei a crop shows, how large, how round, how dark and how far apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from featstore.encoders.base import Floats
from featstore.encoders.stain_texture.view import Mask, View

__all__ = ["describe_nuclei"]

Numbers = NDArray[np.float64]

COMPRESSION = 3.0
"""How strongly dark stain is compressed before the threshold."""

CHROMATIN_SIGMA_PX = 1.5
"""Smoothing before the threshold: the grain of chromatin in a large nucleus must not break it up."""

HOLE_PX = 150.0
"""Smaller holes in a dark region are the pale inside of a nucleus."""

PALE_PERCENTILE = 10
MIN_DARKNESS = 0.2
"""Otsu always finds two classes; paler than this nothing is called a nucleus."""

SPOT_SIGMAS_PX = (2.2, 3.3, 5.0, 7.5, 11.0, 16.0)
DEPTHS_PX = (1.5, 3.0, 5.0, 8.0, 12.0, 18.0)
MIN_RADIUS_PX = 1.2
DEPTH_SIGMA_PX = 2.0
APART = 1.2
"""A second centre within this many radii of a deeper one belongs to the same nucleus."""

MAX_CENTRES = 400
MIN_AREA_PX = 12.0
AREA_PX = 1e4
LENGTH_PX = 10.0
"""Units of area and length that keep descriptors near 1."""

FIELD_PX = 3e4
"""Area of the empty field that a crop is imagined in: about 170 by 170 pixels."""


def describe_nuclei(view: View) -> tuple[dict[str, float], dict[str, float]]:
    """Count, size, spacing and stain of nuclei; areas and lengths are in pixels of the crop.

    Nuclei are split off haematoxylin by Otsu's threshold (1979, doi:10.1109/TSMC.1979.4310076); touching ones are
    told apart by the maxima of the distance transform, as in a watershed, without drawing the line between them.

    Returns
    -------
    amounts, character : dict of str to float
        What grows with the crop, and what is said of its nuclei however many there are.
    """
    darkness = _darkness(view)
    dark = _dark(view, darkness)
    depth = _depth(dark)
    sizes, shapes = _regions(view, dark)
    centres, spacing = _centres(depth, view)
    area = {"nuclear_area": float(dark.sum()) * view.scale**2 / AREA_PX}
    character = _spectrum(darkness, view) | _contrast(view, dark) | _sizes(depth[dark] * view.scale)
    return area | sizes | centres, character | shapes | spacing


def _darkness(view: View) -> Floats:
    """Haematoxylin as light that is missing, from 0 to 1.

    Stain amounts spread pale nuclei and dark ones far apart; light that comes through brings both near to 0, so that
    one threshold serves both. The fill counts as the palest tissue: it should neither look like a nucleus nor make one
    of the tissue beside it.
    """
    import cv2

    stain = cv2.GaussianBlur(view.stains[..., 0], (0, 0), max(0.3, CHROMATIN_SIGMA_PX / view.scale))
    missing = (1.0 - np.exp(-COMPRESSION * stain)) / (1.0 - np.exp(-COMPRESSION))
    if view.seen.any():
        missing[~view.seen] = np.percentile(missing[view.seen], PALE_PERCENTILE)
    return np.asarray(missing, np.float32)


def _dark(view: View, darkness: Floats) -> Mask:
    import cv2

    tones = np.rint(darkness * 255).astype(np.uint8)
    inside = tones[view.seen]
    if len(inside) == 0:
        return np.zeros(tones.shape, np.bool_)
    threshold, _ = cv2.threshold(inside.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    dark = view.tissue & np.asarray(tones > max(threshold, MIN_DARKNESS * 255))
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~dark).astype(np.uint8), connectivity=4)
    hole = stats[:, cv2.CC_STAT_AREA] * view.scale**2 < HOLE_PX
    hole[0] = False
    return np.asarray(dark | (hole[labels] & view.tissue))


def _spectrum(darkness: Floats, view: View) -> dict[str, float]:
    """Strength of spots by size: difference of Gaussians (Lindeberg, 1998, doi:10.1023/A:1008045108935)."""
    import cv2

    # At half size, because the smallest spot is wider than two pixels and large kernels are slow.
    size = tuple(max(1, (length + 1) // 2) for length in darkness.shape[::-1])
    half = cv2.resize(darkness, size, interpolation=cv2.INTER_AREA)
    tissue = cv2.resize(view.tissue.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    smooth = [cv2.GaussianBlur(half, (0, 0), max(0.3, sigma / view.scale / 2)) for sigma in SPOT_SIGMAS_PX]
    described = {}
    for (small, large), sigma in zip(pairwise(smooth), SPOT_SIGMAS_PX, strict=False):
        values = (small - large)[tissue]
        described[f"spots_{sigma:g}px"] = float(np.sqrt(np.mean(values**2))) * 10 if len(values) else 0.0
    return described


def _contrast(view: View, dark: Mask) -> dict[str, float]:
    """Stain inside and outside the nuclei, and how uneven it is inside (chromatin)."""
    described = {"nuclear_share": float(dark.sum() / max(1, int(view.tissue.sum())))}
    pale = view.tissue & ~dark
    for index, name in enumerate(("haematoxylin", "eosin")):
        for mask, where in ((dark, "nuclear"), (pale, "other")):
            values = view.stains[..., index][mask]
            described[f"{where}_{name}_mean"] = float(values.mean()) if len(values) else 0.0
            described[f"{where}_{name}_std"] = float(values.std()) if len(values) else 0.0
    return described


def _depth(dark: Mask) -> Floats:
    """Distance of each dark pixel from what is not dark, in working pixels; the crop's edge is an edge too."""
    import cv2

    padded = np.pad(dark.astype(np.uint8), 1)
    # OpenCV's precise distance differs in the last bits with threads and memory; that of the 5 by 5 mask never does.
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1], np.float32)


def _sizes(depths_px: Floats) -> dict[str, float]:
    """How far inside nuclei their pixels lie: a size distribution that needs no separate nuclei."""
    described = {}
    for limit in DEPTHS_PX:
        described[f"deeper_{limit:g}px"] = float((depths_px > limit).mean()) if len(depths_px) else 0.0
    return described


def _regions(view: View, dark: Mask) -> tuple[dict[str, float], dict[str, float]]:
    """Describe the connected dark regions, nuclei and clumps of them: number, area, elongation, darkness."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA].astype(np.float64) * view.scale**2
    boxes = stats[1:, cv2.CC_STAT_WIDTH] * stats[1:, cv2.CC_STAT_HEIGHT] * view.scale**2
    kept = areas >= MIN_AREA_PX
    elongation, stain = _shapes(np.asarray(labels, np.int32), count, view.stains[..., 0])
    shapes = _density(int(kept.sum()), view, "regions")
    shapes |= _summary(np.sqrt(areas[kept]) / LENGTH_PX, "regions_size")
    shapes |= _summary(elongation[kept], "regions_elongation")
    shapes |= _summary(stain[kept], "regions_stain")
    shapes |= _summary(areas[kept] / np.maximum(boxes[kept], 1), "regions_extent")
    return _amount(int(kept.sum()), view, "regions"), shapes


def _shapes(labels: NDArray[np.int32], count: int, stain: Floats) -> tuple[Numbers, Numbers]:
    """Elongation (0 for a disc, towards 1 for a line) from second moments, and mean haematoxylin, of each region."""
    rows, columns = np.nonzero(labels)
    which = labels[rows, columns]
    areas = np.maximum(np.bincount(which, minlength=count), 1)

    def mean(values: Numbers) -> Numbers:
        return np.asarray(np.bincount(which, values, count) / areas, np.float64)

    x, y = columns.astype(np.float64), rows.astype(np.float64)
    x -= mean(x)[which]
    y -= mean(y)[which]
    xx, yy, xy = mean(x * x), mean(y * y), mean(x * y)
    # The 1/12 that each axis of a square pixel adds keeps regions of a few pixels from looking like lines.
    elongation = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1 / 6)
    return elongation[1:], mean(stain[rows, columns].astype(np.float64))[1:]


def _centres(depth: Floats, view: View) -> tuple[dict[str, float], dict[str, float]]:
    """Count, radius and spacing of the centres of nuclei."""
    rows, columns, radii = _find_centres(depth, view.scale)
    away = np.hypot(rows[:, None] - rows, columns[:, None] - columns) * view.scale
    np.fill_diagonal(away, np.inf)
    nearest = away.min(axis=1) if len(radii) > 1 else np.zeros(0)
    spacing = _density(len(radii), view, "nuclei")
    spacing |= _summary(radii / LENGTH_PX, "nuclei_radius")
    spacing |= _summary(nearest / LENGTH_PX, "nuclei_spacing")
    return _amount(len(radii), view, "nuclei"), spacing


def _find_centres(depth: Floats, scale: float) -> tuple[Numbers, Numbers, Numbers]:
    """Find maxima of the distance transform, deepest first: rows, columns (working pixels) and radii (crop pixels)."""
    import cv2

    smooth = cv2.GaussianBlur(depth, (0, 0), max(0.3, DEPTH_SIGMA_PX / scale))
    highest = smooth >= cv2.dilate(smooth, np.ones((3, 3), np.uint8))
    found = np.nonzero(highest & (smooth * scale > MIN_RADIUS_PX) & (smooth > 0.5))
    order = np.argsort(-smooth[found], kind="stable")[:MAX_CENTRES]
    rows, columns = (axis[order].astype(np.float32) for axis in found)
    radii = smooth[found][order]
    near = np.square(rows[:, None] - rows) + np.square(columns[:, None] - columns) < np.square(APART * radii)[:, None]
    kept = ~np.triu(near, 1).any(axis=0)
    return rows[kept].astype(np.float64), columns[kept].astype(np.float64), radii[kept].astype(np.float64) * scale


def _amount(count: int, view: View, name: str) -> dict[str, float]:
    """Give a count as it is, as its logarithm, and as if the crop lay in a field that is empty around it.

    The last is a density that a small crop can't drive up: it says little of how dense its surroundings are.
    """
    return {
        f"{name}_count": count / 10,
        f"{name}_log_count": float(np.log1p(count)),
        f"{name}_by_field": count / 10 * FIELD_PX / (view.crop_px + FIELD_PX),
    }


def _density(count: int, view: View, name: str) -> dict[str, float]:
    tissue_px = max(float(view.tissue.sum()) * view.scale**2, 100.0)
    return {f"{name}_density": count * AREA_PX / tissue_px / 10}


def _summary(values: Numbers, name: str) -> dict[str, float]:
    keys = [f"{name}_{statistic}" for statistic in ("mean", "std", "median", "p90")]
    if len(values) == 0:
        return dict.fromkeys(keys, 0.0)
    median, high = np.percentile(values, (50, 90))
    return dict(zip(keys, map(float, (values.mean(), values.std(), median, high)), strict=True))
