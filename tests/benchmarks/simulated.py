"""Embeddings made up as those of histology images are: classes a little apart, images far, blobs and repeats alike."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from featstore.store import create_store
from featstore.store.bags import Bags

__all__ = ["CHALLENGE", "Simulation"]

CHALLENGE = {"Luminal B": 204, "Luminal A": 158, "HER2(+)": 150, "Triple negative": 69}
"""Images a class in the challenge's training set, after cleaning."""


@dataclass(frozen=True)
class Simulation:
    """What embeddings are made of, all normal: a class's centre, its image, the blob, the repeat, each less shared.

    Attributes
    ----------
    dim : int
    apart : float
        Spread of the classes' centres, in spreads of images; the default makes the challenge about as hard as it is.
    rank : int
        Images differ in so many directions, as embeddings of one organ do.
    of_blob, of_repeat : float
        Spread within an image, and within a blob.
    seed : int
        Of the centres and directions: the population. Images are drawn with seeds of their own.
    hidden : bool
        Whether classes differ where images do not, instead of in the same directions. Then more images help a lot,
        until their directions are known well enough to be told from the classes'.
    """

    dim: int = 1024
    apart: float = 0.125
    rank: int = 64
    of_blob: float = 0.7
    of_repeat: float = 0.4
    seed: int = 0
    hidden: bool = False

    def bags(self, counts: dict[str, int], *, repeats: int, seed: int, blobs: tuple[int, int] = (3, 8)) -> Bags:
        """Draw images of each class, with blobs from the first number to below the second."""
        names, numbers, turns, labels, rows = [], [], [], {}, []
        for name, of_image in self._images(counts, repeats, seed, blobs):
            labels[name[0]] = name[1]
            for blob, turn, row in of_image:
                names.append(name[0])
                numbers.append(blob)
                turns.append(turn)
                rows.append(row)
        return Bags.from_rows(np.array(rows), names, numbers, turns, labels=labels)

    def write(
        self,
        path: Path,
        counts: dict[str, int],
        *,
        repeats: int,
        test: int = 0,
        seed: int = 0,
        blobs: tuple[int, int] = (3, 8),
    ) -> None:
        """Write a store of training images of each class, and test images without repeats."""
        with create_store(path, {"simulation": repr(self)}, self.dim) as writer:
            for (name, label), of_image in self._images(counts, repeats, seed, blobs):
                numbers, turns, rows = zip(*of_image, strict=True)
                writer.add(f"train/{name}", numbers, turns, np.array(rows), label=label)
            for (name, _), of_image in self._test_images(counts, test, seed):
                numbers, turns, rows = zip(*of_image, strict=True)
                writer.add(f"test/{name}", numbers, turns, np.array(rows), split="test")

    def classes(self, counts: dict[str, int], *, test: int, seed: int = 0) -> dict[str, str]:
        """Tell the class of each test image of `write`, by its name in the store."""
        return {f"test/{name}": label for (name, label), _ in self._test_images(counts, test, seed)}

    def _test_images(self, counts: dict[str, int], test: int, seed: int):
        share = -(-test // len(counts))
        return islice(self._images(dict.fromkeys(counts, share), 0, seed + 1, (3, 8)), test)

    def _images(self, counts: dict[str, int], repeats: int, seed: int, blobs: tuple[int, int]):
        population, rng = np.random.default_rng(self.seed), np.random.default_rng([self.seed, seed])
        directions = population.normal(size=(self.rank, self.dim)).astype(np.float32) / self.rank**0.5
        width = self.dim if self.hidden else self.rank
        centres = self.apart * population.normal(size=(len(counts), width)).astype(np.float32)
        if not self.hidden:
            centres = centres @ directions
        classes = rng.permutation(np.repeat(np.arange(len(counts)), list(counts.values())))
        for number, code in enumerate(classes):
            middle = centres[code] + rng.normal(size=self.rank).astype(np.float32) @ directions
            of_image = []
            for blob in range(int(rng.integers(*blobs))):
                at = middle + self.of_blob * rng.normal(size=self.rank).astype(np.float32) @ directions
                for turn in range(repeats + 1):
                    moved = self.of_repeat * rng.normal(size=self.rank).astype(np.float32) @ directions if turn else 0
                    grain = 0.1 * rng.normal(size=self.dim).astype(np.float32)
                    of_image.append((blob, turn, at + moved + grain))
            yield (f"img_{number:05d}.png", list(counts)[code]), of_image
