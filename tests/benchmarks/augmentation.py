"""An augmented crop of a blob of 600 px, on one core: against the literal way, and the same operations elsewhere.

The other libraries take the crop at its own size, augment it and bring it to the size that the encoder sees, as their
users do; then once more the other way round, with lengths that are as much shorter, where interpolating twice blurs
more. What they don't have (changes of the stains) is left out for them. One that is not installed is not compared.

Ours brings the crop to its working size anew after `REPEATS` repeats, as an extraction does.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle

import cv2
import numpy as np

from featstore.crops import augment, bring_to_working_size, draw
from featstore.recipe import AugmentationSettings
from tests.benchmarks.harness import Measure, Ratio, speed, table
from tests.crops.literal import augment_literally

SIDE, SIZE, CROPS, REPEATS, FILL = 720, 224, 16, 4, (0.5, 0.5, 0.5)
SETTINGS = AugmentationSettings()
SMALLER = replace(
    SETTINGS,
    elastic_alpha_px=SETTINGS.elastic_alpha_px * SIZE / SIDE,
    elastic_sigma_px=SETTINGS.elastic_sigma_px * SIZE / SIDE,
    blur_sigma_px=(SETTINGS.blur_sigma_px[0] * SIZE / SIDE, SETTINGS.blur_sigma_px[1] * SIZE / SIDE),
)


def main() -> None:
    """Print the table."""
    cv2.setNumThreads(1)
    crop = _crop()
    ours = _each(_ours(crop))
    rows = [speed("ours, against the literal way", ours, _each(partial(_literal, crop)), reach="at least 8")]
    for name, build in {"albumentations": _albumentations, "torchvision": _torchvision}.items():
        if importlib.util.find_spec(name):
            rows.append(speed(f"ours, against {name}", ours, _each(build(crop, False)), reach="at least 3"))
            rows.append(speed(f"ours, against {name}, made small first", ours, _each(build(crop, True)), reach=""))
        else:
            print(f"{name} is not installed here: not compared.")
    print(f"A crop of {SIDE} px (a blob of 600 px and its margin) to {SIZE} px; seconds a crop.\n")
    print(table([_a_crop(row) for row in rows], "times as fast"))


def _a_crop(row: Ratio) -> Ratio:
    return Ratio(row.name, row.seconds / CROPS, row.against / CROPS, row.ratio, row.low, row.high, row.reach)


def _each(make: Callable[[int], object]) -> Measure:
    """Time ``CROPS`` repeats, never the same ones again."""
    numbers: Iterator[int] = cycle(range(1, 1_000_000))

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(CROPS):
            make(next(numbers))
        return time.perf_counter() - start

    return seconds


def _crop() -> np.ndarray:
    """Smooth blots of colour, the fill around them."""
    rng = np.random.default_rng(0)
    blots = cv2.resize(rng.integers(60, 256, (60, 60, 3), dtype=np.uint8), (600, 600), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(blots, *[(SIDE - 600) // 2] * 4, cv2.BORDER_CONSTANT, value=(128, 128, 128))


def _ours(crop: np.ndarray) -> Callable[[int], object]:
    working = bring_to_working_size(crop, SIZE)

    def make(repeat: int) -> np.ndarray:
        nonlocal working
        if repeat % REPEATS == 0:
            working = bring_to_working_size(crop, SIZE)
        draws = draw(SETTINGS, seed=0, image_digest="benchmark", blob=0, repeat=repeat)
        return augment(working, draws, FILL, side_px=SIDE, size_px=SIZE)

    return make


def _literal(crop: np.ndarray, repeat: int) -> np.ndarray:
    draws = draw(SETTINGS, seed=0, image_digest="benchmark", blob=0, repeat=repeat)
    return cv2.resize(augment_literally(crop, draws, FILL), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def _albumentations(crop: np.ndarray, small: bool) -> Callable[[int], object]:
    import albumentations as A  # noqa: N812

    s = SMALLER if small else SETTINGS
    smaller = [A.Resize(SIZE, SIZE, interpolation=cv2.INTER_AREA)]
    elastic = {"alpha": s.elastic_alpha_px, "sigma": s.elastic_sigma_px, "noise_distribution": "uniform"}
    outside = {"border_mode": cv2.BORDER_CONSTANT, "fill": 128}
    steps = A.Compose(
        [
            *(smaller if small else []),
            A.HorizontalFlip(p=s.flip_probability),
            A.VerticalFlip(p=s.flip_probability),
            A.Rotate(limit=s.rotation_deg, p=1, **outside),
            A.ColorJitter(brightness=s.brightness, contrast=s.contrast, saturation=s.saturation, hue=s.hue, p=1),
            A.ElasticTransform(p=1, **elastic, **outside),
            A.GaussianBlur(sigma_limit=s.blur_sigma_px, p=s.blur_probability),
            A.GaussNoise(std_range=s.noise_sigma, p=1),
            A.Erasing(scale=s.erase_area, ratio=s.erase_aspect, fill=128, p=s.erase_probability),
            *([] if small else smaller),
        ]
    )
    return lambda _: steps(image=crop)


def _torchvision(crop: np.ndarray, small: bool) -> Callable[[int], object]:
    import torch
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    s = SMALLER if small else SETTINGS
    smaller = [v2.Resize((SIZE, SIZE), antialias=True)]
    steps = v2.Compose(
        [
            *(smaller if small else []),
            v2.RandomHorizontalFlip(s.flip_probability),
            v2.RandomVerticalFlip(s.flip_probability),
            v2.RandomRotation(s.rotation_deg, interpolation=v2.InterpolationMode.BILINEAR, fill=128),
            v2.ColorJitter(s.brightness, s.contrast, s.saturation, s.hue),
            # Its lengths are shares of half the side, so that an alpha of 2 is a pixel.
            v2.ElasticTransform(alpha=2 * s.elastic_alpha_px, sigma=s.elastic_sigma_px, fill=128),
            v2.RandomApply([v2.GaussianBlur(9, s.blur_sigma_px)], s.blur_probability),
            v2.ToDtype(torch.float32, scale=True),
            v2.GaussianNoise(sigma=sum(s.noise_sigma) / 2),
            v2.RandomErasing(s.erase_probability, s.erase_area, s.erase_aspect, value=0.5),
            *([] if small else smaller),
        ]
    )
    picture = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))
    return lambda _: steps(picture)


if __name__ == "__main__":
    main()
