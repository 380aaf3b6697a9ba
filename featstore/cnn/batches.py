"""Which images a training step sees: a function of the seed, the epoch and the step."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["batches_of", "key_of", "parted"]


def key_of(*parts: object) -> int:
    """Hash some values to a seed of 63 bits."""
    text = " ".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def batches_of(
    codes: NDArray[np.intp], batch_size: int, sampling: str, seed: int, epoch: int
) -> list[NDArray[np.intp]]:
    """Draw the batches of an epoch: as many images as there are, in batches of nearly one size.

    Parameters
    ----------
    codes : ndarray of shape (n_images,), int
        Class positions.
    batch_size : int
        At most, except for three images in batches of two.
    sampling : {"shuffled", "balanced"}
        Each image once; or each class equally often, the images of a class as evenly as that allows.
    seed, epoch : int

    Returns
    -------
    list of ndarray of int
        Positions of images.
    """
    random = np.random.Generator(np.random.Philox(key_of("batches", seed, epoch)))
    order = random.permutation(len(codes)) if sampling == "shuffled" else _balanced(codes, random)
    return parted(order, batch_size)


def parted(order: NDArray[np.intp], most: int) -> list[NDArray[np.intp]]:
    """Part images into lots of nearly one size, of ``most`` or, rather than leave one alone, a few more.

    Of a single image batch normalisation could learn nothing.
    """
    return np.array_split(order, max(1, min(math.ceil(len(order) / most), len(order) // 2)))


def _balanced(codes: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.intp]:
    classes = random.permutation(np.unique(codes))
    drawn = []
    for place, code in enumerate(classes):
        members = np.flatnonzero(codes == code)
        quota = len(codes) // len(classes) + (place < len(codes) % len(classes))
        rounds = [random.permutation(members) for _ in range(-(-quota // len(members)))]
        drawn.append(np.concatenate(rounds)[:quota])
    return random.permutation(np.concatenate(drawn))
