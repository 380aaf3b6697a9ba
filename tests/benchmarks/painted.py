"""Real fields painted on: bright green blobs, strokes of pens in four colours, tissue replaced by skin.

The colours are not those of any detector. Pens absorb as real ink does, measured on three thumbnails of slides (green,
red, black, by their pixel masks) and on a dot of blue beside the tissue of one; the blobs and the skin are what is told
of the challenge's images: bright green, and green-brown within the tissue's silhouette.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "PENS", "Painting", "paint"]

Field = NDArray[np.floating]
Pixels = NDArray[np.uint8]

PENS: dict[str, tuple[tuple[float, float, float], tuple[float, float]]] = {
    "pen_green": ((0.60, 0.17, 0.23), (0.45, 1.6)),
    "pen_blue": ((0.56, 0.36, 0.08), (0.5, 2.3)),
    "pen_red": ((0.06, 0.53, 0.41), (0.6, 2.6)),
    "pen_black": ((0.30, 0.33, 0.37), (1.5, 3.8)),
}
"""How the ink's absorbance divides among red, green and blue, and from where to where it goes in all (base 10)."""

PLAIN_GREEN = (0.47, 0.12, 0.41)
"""Of a marker that is green rather than teal; a green pen lies anywhere between it and the measured one."""

KINDS = ("blob", "skin", *PENS)
GLASS = 243.0


@dataclass(frozen=True, eq=False)
class Painting:
    """A painted image.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    image : ndarray of shape (height, width, 3), uint8
        RGB.
    mask : ndarray of shape (height, width), uint8
        The tissue; a blob is part of it.
    painted : ndarray of shape (height, width), bool
        Where there is more paint than image.
    """

    kind: str
    image: Pixels
    mask: Pixels
    painted: NDArray[np.bool_]


def paint(kind: str, image: Pixels, mask: Pixels, rng: np.random.Generator) -> Painting:
    """Paint one thing, random in size, place, colour, edge and, for pens, opacity."""
    if kind == "blob":
        return _blob(image, mask, rng)
    return _skin(image, mask, rng) if kind == "skin" else _stroke(kind, image, mask, rng)


def _blob(image: Pixels, mask: Pixels, rng: np.random.Generator) -> Painting:
    side = min(mask.shape)
    rows, columns = np.nonzero(mask)
    place = rng.integers(len(rows))
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] - np.array([rows[place], columns[place]])[:, None, None]
    turns = np.arctan2(y, x)
    bumps = sum(rng.normal(0, 0.1) * np.cos(n * turns + rng.uniform(0, 6.3)) for n in (2, 3, 4, 5))
    radius = rng.uniform(0.05, 0.22) * side * (1 + bumps)
    depth = np.clip(1 - np.hypot(x, y) / radius, -1, 1)
    cover = _soft(depth > 0, rng.uniform(0.5, 4))
    light = 1 + 0.25 * depth + 0.1 * _noise(rng, mask.shape, 9)
    paint_ = _rgb(
        rng.uniform(40, 72) + 3 * _noise(rng, mask.shape, 15),
        rng.uniform(150, 230) + 18 * _noise(rng, mask.shape, 9),
        rng.uniform(150, 225) * light,
    )
    gloss = np.clip(_noise(rng, mask.shape, 12) - rng.uniform(1.2, 2.5), 0, 1)[..., None]
    painted = _blend(cover, paint_ + gloss * (255 - paint_), image)
    return Painting("blob", painted, np.where(cover > 0.5, np.uint8(255), mask), cover > 0.5)


def _skin(image: Pixels, mask: Pixels, rng: np.random.Generator) -> Painting:
    saturation = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 2), cv2.COLOR_RGB2HSV)[..., 1]
    silhouette = cv2.morphologyEx(
        ((saturation > 22) | (mask > 0)).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)
    )
    grain, scale = rng.uniform(1.5, 6), rng.uniform(8, 40)
    bumps = _noise(rng, mask.shape, grain) + 0.6 * _noise(rng, mask.shape, 3 * grain)
    patches = 1 / (1 + np.exp(-3 * _noise(rng, mask.shape, scale)))
    brown, green = rng.uniform(13, 22), rng.uniform(26, 44)
    paint_ = _rgb(
        brown + (green - brown) * patches + 2 * _noise(rng, mask.shape, 5),
        rng.uniform(90, 180) + 18 * _noise(rng, mask.shape, scale / 2),
        rng.uniform(85, 185) * (1 + rng.uniform(0.08, 0.25) * bumps),
    )
    cover = _soft(silhouette > 0, rng.uniform(0.5, 3)) * rng.uniform(0.88, 1)
    return Painting("skin", _blend(cover, paint_, image), mask, cover > 0.5)


def _stroke(kind: str, image: Pixels, mask: Pixels, rng: np.random.Generator) -> Painting:
    (fractions, (least, most)), side = PENS[kind], min(mask.shape)
    ink = np.array(fractions)
    if kind == "pen_green":
        ink = ink + rng.uniform(0, 1) * (np.array(PLAIN_GREEN) - ink)
    ink = ink * np.exp(rng.normal(0, 0.1, 3))
    line = np.zeros(mask.shape, np.uint8)
    points = _curve(rng, mask.shape)
    cv2.polylines(line, [points], rng.uniform() < 0.2, 255, max(3, round(rng.uniform(0.012, 0.11) * side)), cv2.LINE_AA)
    cover = _soft(line > 127, rng.uniform(0.6, 0.006 * side))
    streaks = 1 + 0.2 * np.clip(_noise(rng, mask.shape, 20), -1.5, 1.5)
    absorbed = rng.uniform(least, most) * ink / ink.sum() * (cover * streaks)[..., None]
    through = 10.0**-absorbed
    if rng.uniform() < 0.5:
        painted = np.clip(np.round(image * through), 0, 255).astype(np.uint8)
    else:  # hides what lies under it, and glass shines through nowhere
        colour = GLASS * 10.0 ** -(absorbed / np.maximum(cover, 0.05)[..., None])
        painted = _blend(cover * rng.uniform(0.8, 1), colour, image)
    return Painting(kind, painted, mask, cover > 0.5)


def _curve(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Make a bent line of a third to all of the image's short side, somewhere in it."""
    length, heading = rng.uniform(0.3, 1.0) * min(shape), rng.uniform(0, 2 * np.pi)
    headings = heading + np.cumsum(rng.normal(0, 0.12, 24))
    steps = length / 24 * np.column_stack([np.cos(headings), np.sin(headings)])
    middle = rng.uniform(0.2, 0.8, 2) * (shape[1], shape[0])
    path = np.cumsum(steps, axis=0)
    return np.round(path - path.mean(axis=0) + middle).astype(np.int32)


def _noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Field:
    """Smooth noise of mean 0 and standard deviation 1; ``sigma`` in pixels."""
    step = max(1, int(sigma // 2))
    coarse = rng.normal(size=(shape[0] // step + 2, shape[1] // step + 2)).astype(np.float32)
    smooth = cv2.GaussianBlur(coarse, (0, 0), sigma / step)
    field = cv2.resize(smooth, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / field.std()


def _soft(inside: NDArray[np.bool_], sigma: float) -> Field:
    return cv2.GaussianBlur(inside.astype(np.float32), (0, 0), sigma)


def _rgb(hue: Field, saturation: Field, value: Field) -> Field:
    hsv = np.stack(np.broadcast_arrays(hue, saturation, value), axis=-1)
    return cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)


def _blend(cover: Field, paint_: Field, image: Pixels) -> Pixels:
    mixed = cover[..., None] * paint_ + (1 - cover[..., None]) * image
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)
