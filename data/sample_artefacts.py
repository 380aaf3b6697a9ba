"""The two contaminations of the sample: a foreign skin texture in place of the tissue, and a green slime pasted on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sample_tissue import Field, noise, smoothstep, voronoi

__all__ = ["paste_slime", "replace_texture"]

Pixels = NDArray[np.uint8]


def replace_texture(rng: Generator, image: Pixels, silhouette: Field) -> Pixels:
    """Fill the tissue's silhouette with scaly, green-brown skin; glass and outline stay.

    Parameters
    ----------
    rng : Generator
        Source of all random numbers.
    image : ndarray of shape (h, w, 3), uint8 RGB
        The tissue's picture.
    silhouette : ndarray of shape (h, w), float32
        1 on tissue, 0 on glass.
    """
    shape = (silhouette.shape[0], silhouette.shape[1])
    count = int(shape[0] * shape[1] / rng.uniform(70, 160))
    labels, distance = voronoi(rng.uniform(0, 1, (count, 2)) * (shape[1], shape[0]), shape)
    furrow = np.asarray((labels != np.roll(labels, 1, 0)) | (labels != np.roll(labels, 1, 1)), np.float32)
    light = 1.08 - 0.55 * cv2.GaussianBlur(furrow, (0, 0), 1.1) - 0.035 * distance + 0.07 * noise(rng, shape, 9.0, 25.0)
    green = smoothstep(noise(rng, shape, 22.0, 6.0), -0.8, 0.8)[..., None]
    skin = ((1 - green) * (128, 88, 46) + green * (104, 116, 50)) * light[..., None]
    cover = silhouette[..., None]
    return _blend(cover, skin, image)


def paste_slime(rng: Generator, image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    """Paste one bright green blob over a marked region, and add it to the mask.

    Parameters
    ----------
    rng : Generator
        Source of all random numbers.
    image : ndarray of shape (h, w, 3), uint8 RGB
        The tissue's picture.
    mask : ndarray of shape (h, w), uint8
        0 or 255.

    Returns
    -------
    image, mask : ndarray
        New arrays of the same shapes.
    """
    shape = (mask.shape[0], mask.shape[1])
    marked = np.argwhere(mask > 0)
    y, x = marked[int(rng.uniform() * len(marked))]
    rows, columns = np.indices(shape, dtype=np.float32)
    radius = rng.uniform(0.20, 0.26) * min(shape)
    depth = 1 - np.hypot(columns - x, rows - y) / radius + 0.14 * noise(rng, shape, 18.0, 7.0)
    blob = smoothstep(np.asarray(depth, np.float32), 0.0, 0.05)[..., None]
    bulge = cv2.GaussianBlur(np.clip(np.asarray(depth, np.float32), 0, 0.6), (0, 0), 3.0)
    shade = (0.72 + 0.5 * bulge + 0.04 * noise(rng, shape, 4.0))[..., None]
    gloss = 90 * smoothstep(noise(rng, shape, 6.0), 1.5, 2.2)[..., None]
    slime = shade * (66, 224, 58) + gloss
    return _blend(blob, slime, image), np.where(blob[..., 0] > 0.5, np.uint8(255), mask)


def _blend(cover: NDArray[np.floating], colour: NDArray[np.floating], image: Pixels) -> Pixels:
    # Steps of 8 grey levels, as fine as those of the tissue, so that a PNG stays small.
    coarse = np.round(colour / 8) * 8
    return np.asarray(np.clip(np.round(cover * coarse + (1 - cover) * image), 0, 255), np.uint8)
