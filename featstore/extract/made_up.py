"""The crops of a made-up image: an extraction as far as the encoder, on pixels that are the same everywhere."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset import ImageRecord
from featstore.dataset.opencv import opencv
from featstore.encoders.processor import Resize
from featstore.errors import FeatstoreError
from featstore.extract.loader import Loaded, Loader
from featstore.extract.plan import ImageJob
from featstore.recipe import EncoderSettings, Recipe

__all__ = ["Crops", "Pixels", "make_crops"]

Pixels = NDArray[np.uint8]
Crops = dict[tuple[int, int], Pixels]

SIZE_PX = 224


@dataclass(frozen=True)
class _Crops:
    """Stands for an encoder of the heavy kind: crops go as far as its input."""

    settings: EncoderSettings = field(
        default_factory=lambda: EncoderSettings(name="selftest", dim=1, input_size_px=SIZE_PX)
    )
    in_worker: bool = False
    prepare: Resize = field(default_factory=lambda: Resize(SIZE_PX))


def make_crops(repeats: Sequence[int]) -> Crops:
    """Make the crops of the made-up image.

    Parameters
    ----------
    repeats : sequence of int

    Returns
    -------
    dict of (blob, repeat) to ndarray of shape (224, 224, 3), uint8

    Raises
    ------
    MissingExtraError
        If OpenCV is not installed.
    FeatstoreError
        If the image can't be read or has no blobs.
    """
    with tempfile.TemporaryDirectory(prefix="featstore-") as folder:
        job = _write_job(Path(folder), repeats)
        encoder: Any = _Crops()
        loaded = Loaded(job)
        crops = list(Loader(Recipe(encoder.settings), encoder).load(loaded))
    if loaded.reason:
        raise FeatstoreError(f"the made-up image was left out ({loaded.reason}: {loaded.note})")
    return dict(zip(loaded.keys, crops, strict=True))


def _write_job(folder: Path, repeats: Sequence[int]) -> ImageJob:
    """Write image and mask. Draws are keyed by a name, because files differ between versions of their writer."""
    image, mask = _made_up()
    cv2 = opencv()
    for name, pixels in (("image.png", image[..., ::-1]), ("mask.png", mask)):
        if not cv2.imwrite(str(folder / name), pixels):
            raise FeatstoreError(f"{name} can't be written in {folder}")
    record = ImageRecord(
        "image.png", "image.png", 0, folder / "image.png", folder / "mask.png", "", "train", "", None, "", ""
    )
    return ImageJob(record, "train", "selftest", "selftest", tuple(repeats), frozenset())


def _made_up() -> tuple[Pixels, Pixels]:
    """Make textured tissue with dark nuclei, and a large, a medium and a small blob; all in integers."""
    y, x = np.ogrid[:768, :1024]
    waves = _wave(3 * x + 2 * y, 96) + _wave(x - 2 * y, 62) + x * y % 23
    nuclei = (x % 26 - 13) ** 2 + ((y + 11 * (x // 26 % 2)) % 22 - 11) ** 2 < 40
    image = np.stack([225 - waves, 120 + waves // 2 - y // 16, 215 - waves // 2 - x // 32], axis=-1)
    image[nuclei] -= (90, 60, 50)
    mask = (x - 360) ** 2 * 310**2 + (y - 390) ** 2 * 330**2 < (310 * 330) ** 2
    mask |= (x - 860) ** 2 + (y - 200) ** 2 < 130**2
    mask |= (x - 860) ** 2 + (y - 560) ** 2 < 60**2
    return image.clip(0, 255).astype(np.uint8), mask.astype(np.uint8) * 255


def _wave(steps: NDArray[np.int64], period: int) -> NDArray[np.int64]:
    """Rise and fall between 0 and half the period."""
    return np.abs(steps % period - period // 2)
