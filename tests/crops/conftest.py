from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from featstore.crops import Draws, cut_crop, draw, find_blobs
from featstore.recipe import AugmentationSettings, CropSettings


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.fixture(scope="session")
def real_crops(read_pair) -> Callable[[str], list[np.ndarray]]:
    """Cut the crops of the three largest blobs of an image of he1024."""

    def cut(name: str) -> list[np.ndarray]:
        image, mask = read_pair(f"he1024/{name}")
        blobs = find_blobs(image, mask, CropSettings(max_blobs=3))
        return [cut_crop(image, blobs, blob, CropSettings()) for blob in blobs.blobs]

    return cut


@pytest.fixture(scope="session")
def neutral() -> Draws:
    """Draws that change nothing; tests replace what they are about."""
    still = AugmentationSettings(
        flip_probability=0,
        rotation_deg=0,
        brightness=0,
        contrast=0,
        saturation=0,
        hue=0,
        stain_alpha=(1, 1),
        stain_beta=(0, 0),
        elastic_alpha_px=0,
        blur_probability=0,
        noise_sigma=(0, 0),
        erase_probability=0,
    )
    return draw(still, seed=0, image_digest="neutral", blob=0, repeat=1)


@pytest.fixture(scope="session")
def strong() -> Draws:
    """Draws in which every step takes part."""
    settings = AugmentationSettings(blur_probability=1, erase_probability=1)
    draws = draw(settings, seed=0, image_digest="strong", blob=0, repeat=1)
    return replace(draws, flip_horizontal=True, flip_vertical=True)


@pytest.fixture(scope="session")
def crop() -> np.ndarray:
    """A crop of 61 px with smooth colours and hard edges."""
    rng = np.random.default_rng(0)
    field = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (61, 61), interpolation=cv2.INTER_CUBIC)
    field[20:30, 35:50] = (120, 40, 150)
    return field
