"""Nuclei of a synthetic tissue: where they lie, what each is like, and how they are drawn.

All random numbers are drawn for every candidate, placed or not. So if another version of a library moves one nucleus,
the others stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sample_tissue import Field, Layout, Traits, noise

__all__ = ["Nuclei", "draw_nuclei", "epithelium", "lymphocytes", "stroma_nuclei"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of one kind; attributes are of shape (n,) unless said otherwise, lengths in pixels, angles in radians.

    Attributes
    ----------
    x, y : ndarray
        Centres.
    radius, elongation, angle : ndarray
        Of an ellipse with the same area as a circle of this radius.
    darkness : ndarray
        Concentration of haematoxylin.
    lobes : ndarray
        Depth of the outline's waves, as a share of the radius.
    vesicle : ndarray
        0 for a full nucleus, 1 for one that is pale inside.
    phases, spots : ndarray of shape (n, 3) and (n, 2, 2)
        Phases of the outline's waves; places of nucleoli, in radii.
    softness, shown : ndarray of shape (n,) and (n, 2)
        Width of the edge; which nucleoli are shown, the smaller the sooner.
    """

    x: Values
    y: Values
    radius: Values
    elongation: Values
    angle: Values
    darkness: Values
    lobes: Values
    vesicle: Values
    phases: Values
    softness: Values
    spots: Values
    shown: Values

    def only(self, placed: NDArray[np.bool_]) -> Nuclei:
        """Return those that found a place."""
        return Nuclei(**{field.name: getattr(self, field.name)[placed] for field in fields(self)})

    @property
    def axes(self) -> tuple[Values, Values]:
        """Long and short half-axis."""
        stretch = np.sqrt(self.elongation)
        return self.radius * stretch, self.radius / stretch


def epithelium(rng: Generator, layout: Layout, traits: Traits) -> Nuclei:
    """Scatter the nuclei of the nests."""
    count, spread = 6000, traits.pleomorphism
    size = np.exp(np.clip(rng.standard_normal(count), -2, 2.2) * (0.07 + 0.22 * spread))
    candidates = _candidates(
        rng,
        layout,
        wander=0.8,
        radius=traits.radius_px * size,
        elongation=np.clip(1 + (traits.elongation - 1) * rng.gamma(3.0, 1 / 3, count), 1, 2.6),
        darkness=traits.chromatin * np.exp(rng.standard_normal(count) * (0.08 + 0.16 * spread)),
        lobes=np.abs(rng.normal(0, 0.03 + 0.07 * spread, count)),
        vesicle=np.clip(traits.vesicles + rng.normal(0, 0.15, count), 0, 1),
    )
    return _placed(candidates, traits.spacing, (layout.nest > 0.5) & (layout.lumen < 0.3) & (layout.tissue > 0.8))


def stroma_nuclei(rng: Generator, layout: Layout) -> Nuclei:
    """Scatter the spindles of fibroblasts, along the fibres."""
    count = 260
    candidates = _candidates(
        rng,
        layout,
        wander=0.15,
        radius=rng.uniform(2.6, 3.9, count),
        elongation=rng.uniform(2.2, 4.5, count),
        darkness=rng.normal(1.15, 0.15, count),
    )
    return _placed(candidates, 2.2, (layout.nest < 0.4) & (layout.tissue > 0.8))


def lymphocytes(rng: Generator, layout: Layout, traits: Traits) -> Nuclei:
    """Scatter small, dark, round nuclei, in crowds in the stroma."""
    count = 1500
    crowd = noise(rng, layout.shape, 20.0, 8.0)
    crowded = crowd > np.quantile(crowd, 1 - traits.lymphocytes)
    candidates = _candidates(
        rng,
        layout,
        wander=0.5,
        radius=rng.normal(3.2, 0.2, count),
        elongation=rng.uniform(1, 1.2, count),
        darkness=rng.normal(1.55, 0.15, count),
    )
    return _placed(candidates, 1.12, crowded & (layout.nest < 0.5) & (layout.tissue > 0.8))


def _candidates(rng: Generator, layout: Layout, *, wander: float, radius: Values, **given: Values) -> Nuclei:
    """Draw what was not given; ``wander`` is how far, in radians, nuclei deviate from the fibres."""
    count = len(radius)
    height, width = layout.shape
    x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
    drawn: dict[str, Any] = {
        "x": x,
        "y": y,
        "radius": radius,
        "angle": layout.angle[y.astype(int), x.astype(int)] + rng.normal(0, wander, count),
        "lobes": np.full(count, 0.04),
        "vesicle": np.zeros(count),
        "phases": rng.uniform(0, 2 * np.pi, (count, 3)),
        "softness": rng.uniform(0.9, 1.7, count),
        "spots": rng.uniform(-0.45, 0.45, (count, 2, 2)),
        "shown": rng.uniform(0, 1, (count, 2)),
    }
    return Nuclei(**(drawn | given))


def _placed(nuclei: Nuclei, spacing: float, allowed: NDArray[np.bool_]) -> Nuclei:
    """Place one after another where it is allowed and they keep their distance: random sequential addition."""
    placed = np.zeros(len(nuclei.x), bool)
    for i in np.flatnonzero(allowed[nuclei.y.astype(int), nuclei.x.astype(int)]):
        reach = spacing * (nuclei.radius + nuclei.radius[i])
        near = (nuclei.x - nuclei.x[i]) ** 2 + (nuclei.y - nuclei.y[i]) ** 2 < reach**2
        placed[i] = not (placed & near).any()
    return nuclei.only(placed)


def draw_nuclei(haematoxylin: Field, eosin: Field, nuclei: Nuclei, chromatin: Field) -> None:
    """Draw nuclei into the two fields of concentrations, in place."""
    long, short = nuclei.axes
    for i in range(len(nuclei.x)):
        reach = int(long[i] * 1.35) + 3
        rows, columns = (
            _window(at[i], reach, limit) for at, limit in zip((nuclei.y, nuclei.x), eosin.shape, strict=True)
        )
        y, x = np.mgrid[rows, columns]
        y, x = y - nuclei.y[i], x - nuclei.x[i]
        cos, sin = np.cos(nuclei.angle[i]), np.sin(nuclei.angle[i])
        u, v = (x * cos + y * sin) / long[i], (y * cos - x * sin) / short[i]
        rho = np.hypot(u, v) / _outline(np.arctan2(v, u), nuclei.lobes[i], nuclei.phases[i])
        cover = np.clip((1 - rho) * short[i] / nuclei.softness[i] + 0.5, 0, 1)
        body = _body(rho, nuclei.vesicle[i]) + (0.08 + 0.10 * nuclei.vesicle[i]) * chromatin[rows, columns]
        for place, turn in zip(nuclei.spots[i], nuclei.shown[i], strict=True):
            if turn < 0.9 * nuclei.vesicle[i]:
                distance = np.hypot(u - place[0], v - place[1])
                body += 0.75 * nuclei.vesicle[i] * np.exp(-((distance / 0.24) ** 2))
        haematoxylin[rows, columns] += cover * (nuclei.darkness[i] * body - haematoxylin[rows, columns])
        eosin[rows, columns] += cover * (0.22 - eosin[rows, columns])


def _outline(theta: Values, lobes: float, phases: Values) -> Values:
    """Radius of the outline at an angle, as a multiple of the ellipse's."""
    waves = np.cos(2 * theta + phases[0]) + np.cos(3 * theta + phases[1]) + 0.6 * np.cos(5 * theta + phases[2])
    return np.asarray(1 + lobes * waves, np.float64)


def _body(rho: Values, vesicle: float) -> Values:
    """Darkness from the centre (rho of 0) to the edge (1): a rim, and a paler inside."""
    inside = 0.5 * vesicle * np.exp(-((rho / 0.7) ** 4))
    return np.asarray(1 - inside + 0.15 * np.exp(-(((rho - 0.85) / 0.15) ** 2)), np.float64)


def _window(centre: float, reach: int, limit: int) -> slice:
    return slice(max(0, int(centre) - reach), min(limit, int(centre) + reach + 1))
