"""Masks under controlled damage: how often a damaged one is found, how often a good one refused.

Masks of two kinds are good: those that follow nuclei, and regions that were outlined on the tissue, whatever lies
in them.

True masks are those of real fields (the most haematoxylin-rich part of the tissue), of nucleus images (human
annotations, grown) and of the made-up sample. The thresholds were chosen on the training images of the last two; the
fields and the test images had no part in that.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.check.dataset import least_fit
from featstore.dataset import MaskLimits, find_tissue, measure_mask, read_image, read_mask

HERE = Path(__file__).resolve().parents[2]
REAL = HERE.parent / "shared" / "real"
SETS = {
    "real fields": [REAL / "he1024"],
    "nucleus images, test": [REAL / "dsb2018" / "test_data"],
    "sample, test": [HERE / "data" / "test_data"],
    "nucleus images and sample, training": [REAL / "dsb2018" / "train_data", HERE / "data" / "train_data"],
}
OUTLINED = 8
Mask = NDArray[np.bool_]


def _shifted(mask: Mask, rng: np.random.Generator, _other: Mask) -> Mask:
    """By a tenth to a third of each side; what comes in at the other side is empty."""
    moved = np.zeros_like(mask)
    (y, x), (height, width) = (int(side * rng.uniform(0.1, 0.33)) for side in mask.shape), mask.shape
    moved[y:, x:] = mask[: height - y, : width - x]
    return moved


DAMAGE: dict[str, Callable[[Mask, np.random.Generator, Mask], Mask]] = {
    "none": lambda mask, _rng, _other: mask,
    "shifted by 10 to 33%": _shifted,
    "eroded by 2% of the side": lambda mask, _rng, _other: _eroded(mask),
    "inverted": lambda mask, _rng, _other: ~mask,
    "emptied": lambda mask, _rng, _other: np.zeros_like(mask),
    "noisy: 10% of pixels flipped": lambda mask, rng, _other: mask ^ (rng.random(mask.shape) < 0.1),
    "of another image": lambda _mask, _rng, other: other,
    "mirrored": lambda mask, _rng, _other: mask[:, ::-1],
}


def _eroded(mask: Mask) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (min(mask.shape) // 50) + 1,) * 2)
    return np.asarray(cv2.erode(mask.view(np.uint8), kernel), dtype=np.bool_)


def pairs(folders: list[Path]) -> Iterator[tuple[NDArray[np.uint8], Mask]]:
    """Yield images and masks."""
    for path in sorted(path for folder in folders for path in folder.glob("img_*.png")):
        mask = path.with_name(path.name.replace("img_", "mask_"))
        if mask.exists():
            image = read_image(path)
            yield image, read_mask(mask, shape=image.shape[:2]) > 0


def measure(folders: list[Path]) -> tuple[int, dict[str, Counter[str]]]:
    """Count the reasons that are found for each kind of damage, and the images.

    ``compared`` counts what a check finds besides, by comparison with the undamaged masks of the dataset.
    """
    found = {kind: Counter[str]() for kind in DAMAGE}
    given = [(image, mask) for image, mask in pairs(folders) if mask.any()]
    least = least_fit([measure_mask(image, mask).fit for image, mask in given], MaskLimits())
    for number, (image, mask) in enumerate(given):
        other = given[(number + 1) % len(given)][1]
        other = cv2.resize(other.view(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        for kind, damage in DAMAGE.items():
            damaged = damage(mask, np.random.default_rng(number), other)
            quality = measure_mask(image, np.ascontiguousarray(damaged))
            found[kind].update(["any"] if quality.reasons else [])
            found[kind].update(quality.reasons[:1])
            found[kind].update(["compared"] if quality.reasons or quality.fit < least else [])
    return len(given), found


def outlined(folders: list[Path]) -> tuple[int, int, int]:
    """Outline `OUTLINED` regions on each image; count them, those refused, and those that a check names besides."""
    found = []
    for number, (image, _) in enumerate(pairs(folders)):
        tissue, rng = find_tissue(image), np.random.default_rng(number)
        for region in (_region(tissue, rng) for _ in range(OUTLINED)):
            if region.any():
                found.append(measure_mask(image, region))
    least = least_fit([quality.fit for quality in found], MaskLimits())
    refused = sum(bool(quality.reasons) for quality in found)
    return len(found), refused, sum(bool(quality.reasons) or quality.fit < least for quality in found)


def _region(tissue: Mask, rng: np.random.Generator) -> Mask:
    """Outline a smooth region, or several, that cover 7 to 45% of the image, as far as there is tissue."""
    height, width = tissue.shape
    rough = rng.standard_normal((int(rng.integers(3, 8)),) * 2).astype(np.float32)
    smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray((smooth > np.quantile(smooth, rng.uniform(0.55, 0.93))) & tissue)


def main() -> None:
    """Print a table a set."""
    for name, folders in SETS.items():
        if not all(folder.is_dir() for folder in folders):
            print(f"{name}: not there\n", file=sys.stderr)
            continue
        count, found = measure(folders)
        print(f"{name}, {count} masks\n\n| damage | found | found by check | first reason |")
        print("| --- | ---: | ---: | --- |")
        for kind, reasons in found.items():
            why = ", ".join(f"{one} {times}" for one, times in reasons.most_common() if one not in ("any", "compared"))
            print(f"| {kind} | {reasons['any'] / count:.0%} | {reasons['compared'] / count:.0%} | {why} |")
        count, refused, named = outlined(folders)
        print(
            f"| none, {count} outlined regions | {refused / count:.0%} ({refused}) | {named / count:.0%} ({named}) | |"
        )
        print()


if __name__ == "__main__":
    main()
