"""Artefacts painted on real fields, and real ink: what is found of them, and what of clean images is refused.

``python -m tests.benchmarks.artefacts [PAINTINGS [SEED]]``; needs the real images, ``../shared/real``.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.dataset import read_image, read_mask
from featstore.dataset.artefact_check import Artefact, artefacts_note, find_artefacts
from tests.benchmarks.painted import KINDS, Painting, paint

__all__ = ["REAL", "as_what", "fields", "found", "main", "overlap", "paintings", "triggered"]

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "real"
PAINTINGS, HELD_OUT = 200, 20_000
"""The held-out seed gives the figures; thresholds were chosen on others, below 1000."""

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def fields(folder: Path) -> list[tuple[str, Pixels, Pixels]]:
    """Read images with their masks."""
    pairs = [(path, path.with_name(path.name.replace("img_", "mask_"))) for path in sorted(folder.glob("img_*.png"))]
    images = [(path.name, read_image(path), mask) for path, mask in pairs if mask.is_file()]
    return [(name, image, read_mask(mask, shape=image.shape[:2])) for name, image, mask in images]


def paintings(images: list[tuple[str, Pixels, Pixels]], count: int, seed: int) -> Iterator[Painting]:
    """Paint the kinds in turn, each on the next field."""
    for number in range(count):
        _, image, mask = images[number % len(images)]
        yield paint(KINDS[number % len(KINDS)], image, mask, np.random.default_rng([seed, number]))


def as_what(kind: str) -> tuple[str, ...]:
    """Say what a painting should be found as."""
    named = {"blob": ("green", "ink_green"), "skin": ("texture",)}
    return named.get(kind, (kind.replace("pen_", "ink_"),))


def found(artefacts: Iterable[Artefact]) -> set[str]:
    """Name what is over its limit."""
    return {artefact.kind for artefact in artefacts if artefact.over}


def triggered(artefacts: Iterable[Artefact], kinds: Iterable[str], shape: tuple[int, int]) -> Mask:
    """Join the pixels of some kinds that are over their limits."""
    pixels = np.zeros(shape, np.bool_)
    for artefact in artefacts:
        if artefact.over and artefact.kind in kinds and artefact.pixels is not None:
            pixels |= artefact.pixels
    return pixels


def overlap(pixels: Mask, truth: Mask, within_px: int = 0) -> tuple[float, float, float]:
    """Measure precision, recall and intersection over union; a pixel is right if the other mask is that near."""
    square = np.ones((2 * within_px + 1,) * 2, np.uint8)
    near_truth, near = (cv2.dilate(mask.view(np.uint8), square) > 0 for mask in (truth, pixels))
    precision = (pixels & near_truth).sum() / max(pixels.sum(), 1)
    recall = (truth & near).sum() / max(truth.sum(), 1)
    return float(precision), float(recall), float((pixels & truth).sum() / max((pixels | truth).sum(), 1))


def main(count: int = PAINTINGS, seed: int = HELD_OUT) -> None:
    """Print the tables."""
    if not REAL.is_dir():
        print("the real images (../shared/real) are not here")
        return
    _painted(count, seed)
    _pens()
    _clean()
    _blurred()


def _painted(count: int, seed: int) -> None:
    rows = defaultdict(list)
    others: dict[str, set[str]] = defaultdict(set)
    for painting in paintings(fields(REAL / "he1024"), count, seed):
        artefacts = find_artefacts(painting.image, painting.mask)
        kinds, over = as_what(painting.kind), found(artefacts)
        pixels = triggered(artefacts, kinds, painting.mask.shape)
        rows[painting.kind].append([bool(over), bool(over & set(kinds)), *overlap(pixels, painting.painted)])
        others[painting.kind] |= over - set(kinds)
    print(f"Painted, seed {seed}; precision, recall and IoU of pixels: median of those found as their kind, and mean")
    print("\n| painted | found | as its kind | precision | recall | IoU | also said |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for kind in KINDS:
        table = np.array(rows[kind], float)
        good = table[table[:, 1] > 0, 2:]
        pairs = zip(np.median(good, axis=0), good.mean(axis=0), strict=True)
        figures = " | ".join(f"{median:.2f} {mean:.2f}" for median, mean in pairs)
        counts = f"{table[:, 0].sum():.0f} of {len(table)} | {table[:, 1].sum():.0f}"
        print(f"| {kind} | {counts} | {figures} | {', '.join(sorted(others[kind]))} |")
    whole = np.concatenate([np.array(rows[kind], float)[:, :2] for kind in KINDS])
    print(f"| all | {whole[:, 0].sum():.0f} of {len(whole)} | {whole[:, 1].sum():.0f} | | | | |")


def _pens() -> None:
    print("\nReal ink against masks drawn by hand\n")
    print("| slide | precision | recall | IoU | precision, recall within 3 px |")
    print("| --- | ---: | ---: | ---: | --- |")
    for colour in ("green", "red", "black"):
        image = read_image(REAL / f"pen/pen_{colour}.png")
        truth = read_mask(REAL / f"pen/pen_{colour}_mask.png", shape=image.shape[:2]) > 127
        pixels = triggered(find_artefacts(image), [f"ink_{colour}"], truth.shape)
        strict, near = overlap(pixels, truth), overlap(pixels, truth, 3)
        print(f"| {colour} | {' | '.join(f'{part:.3f}' for part in strict)} | {near[0]:.3f}, {near[1]:.3f} |")


def _clean() -> None:
    print("\nReal images\n\n| images | over a limit | ms an image of 1.4 megapixels |\n| --- | --- | ---: |")
    for folder in ("he1024", "dsb2018/train_data", "dsb2018/test_data"):
        said, spent, pixels = [], 0.0, 0
        images = fields(REAL / folder)
        for name, image, mask in images:
            start = time.process_time()
            note = artefacts_note(find_artefacts(image, mask))
            spent, pixels = spent + time.process_time() - start, pixels + mask.size
            said += [f"{name}: {note}"] if note else []
        print(f"| {folder} | {len(said)} of {len(images)} {'; '.join(said)} | {1e3 * spent / pixels * 1.4e6:.0f} |")
    for path in sorted((REAL / "pen").glob("*level*.png")):
        print(f"| {path.name} | {artefacts_note(find_artefacts(read_image(path))) or 'nothing'} | |")


def _blurred() -> None:
    print("\nFields under a Gaussian blur\n\n| sigma, px | out of focus |\n| ---: | ---: |")
    images = fields(REAL / "he1024")
    for sigma in (0.5, 1.0, 2.0, 3.0, 4.0, 6.0):
        blurred = (find_artefacts(cv2.GaussianBlur(image, (0, 0), sigma), mask) for _, image, mask in images)
        print(f"| {sigma:g} | {sum('blur' in found(artefacts) for artefacts in blurred)} of {len(images)} |")


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main(*map(int, sys.argv[1:]))
