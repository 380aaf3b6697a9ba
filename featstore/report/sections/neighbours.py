"""Which images are most alike to an encoder: cosines of image embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.store import ImageRow, Store
from featstore.toolkit.predictions import Prediction

__all__ = ["MOST_ASKED", "Embedded", "embedded", "neighbours_section"]

Values = dict[str, Any]

NEIGHBOURS, MOST_ASKED = 6, 1000
_AT_ONCE = 512


class Embedded:
    """Every image with embeddings, and the mean of its blobs' clean ones.

    Attributes
    ----------
    images : list of str
    rows : list of ImageRow
    means : ndarray of shape (n_images, dim), float32
    """

    def __init__(self, images: list[str], rows: list[ImageRow], means: NDArray[np.float32]) -> None:
        self.images, self.rows, self.means = images, rows, means

    def of_split(self, split: str) -> NDArray[np.intp]:
        """Return the positions of a split's images."""
        return np.flatnonzero(np.array([row.split == split for row in self.rows], dtype=bool))


def embedded(store: Store) -> Embedded:
    """Read image embeddings of all splits."""
    bags = store.bags("all", repeats=0, labelled=False)
    images = bags.images.tolist()
    means = bags.means() if images else np.zeros((0, store.dim), dtype=np.float32)
    return Embedded(images, [store.images[name] for name in images], means)


def neighbours_section(found: Embedded, predictions: Mapping[str, Prediction]) -> Values | None:
    """List the nearest training images of each test image; of each image among all, where one of the splits is empty.

    Returns
    -------
    dict or None
        None where there are fewer than two images.
    """
    asked, among = found.of_split("test"), found.of_split("train")
    whole = not len(asked) or not len(among)
    if whole:
        asked = among = np.arange(len(found.images))
    if len(found.images) < 2:
        return None
    return {
        "whole": whole,
        "beyond": max(len(asked) - MOST_ASKED, 0),
        "rows": [
            {
                "image": found.images[place],
                "label": found.rows[place].label,
                "prediction": predictions.get(found.images[place]),
                "nearest": [(found.images[other], found.rows[other].label, cosine) for other, cosine in nearest],
            }
            for place, nearest in nearest_of(found.means, asked[:MOST_ASKED], among)
        ],
    }


def nearest_of(
    means: NDArray[np.float32], asked: NDArray[np.intp], among: NDArray[np.intp]
) -> list[tuple[int, list[tuple[int, float]]]]:
    """Return for each position asked the most alike others, the nearest first; of equal ones the first by name."""
    long = means.astype(np.float64)
    unit = long / np.maximum(np.linalg.norm(long, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    found = []
    for start in range(0, len(asked), _AT_ONCE):
        some = asked[start : start + _AT_ONCE]
        cosines = np.round(unit[some] @ unit[among].T, 9)  # the last digits depend on the processor
        cosines[some[:, None] == among[None]] = -np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
        for row, place in enumerate(some):
            kept = [column for column in order[row] if np.isfinite(cosines[row, column])]
            found.append((int(place), [(int(among[column]), float(cosines[row, column])) for column in kept]))
    return found
