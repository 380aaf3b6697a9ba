"""Small datasets of made-up tissue, and one way to run an extraction on them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from featstore.dataset import file_digest, find_dataset
from featstore.encoders import load_encoder
from featstore.extract import Extraction, ImageJob, Repeats, extract
from featstore.recipe import Recipe
from featstore.store import create_store

SIDE = 160


def write_image(folder: Path, number: int, *, seed: int | None = None, blobs: int = 2) -> None:
    """Write a purple image of texture and a mask with a few discs."""
    rng = np.random.default_rng(number if seed is None else seed)
    noise = cv2.GaussianBlur(rng.uniform(-60, 60, size=(SIDE, SIDE, 1)).astype(np.float32), (0, 0), 2)[..., None]
    image = np.clip(np.array([170, 90, 160]) + noise * [2, 3, 2], 0, 255).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for blob in range(blobs):
        cv2.circle(mask, (40 + 80 * (blob % 2), 40 + 80 * (blob // 2)), 20 + 3 * blob + number % 5, 255, -1)
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"img_{number:04d}.png"), image)
    cv2.imwrite(str(folder / f"mask_{number:04d}.png"), mask)


@pytest.fixture(scope="session")
def stain_texture():
    return load_encoder("stain-texture")


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Six training and two test images, labelled A and B in turn."""
    root = tmp_path / "data"
    for number in range(6):
        write_image(root / "train_data", number)
    for number in range(2):
        write_image(root / "test_data", number, seed=100 + number)
    lines = [f"img_{number:04d}.png,{'AB'[number % 2]}" for number in range(6)]
    (root / "train_labels.csv").write_text("sample_index,label\n" + "\n".join(lines) + "\n")
    return root


@pytest.fixture
def run(stain_texture) -> Callable[..., Extraction]:
    def go(data: Path, store: Path, *, train: int = 0, test: int = 0, encoder=None, **keywords) -> Extraction:
        encoder = encoder or stain_texture
        recipe = Recipe(encoder.settings)
        with create_store(store, recipe.to_dict(), encoder.settings.dim, operation="extract") as writer:
            repeats = Repeats(train=train, test=test)
            return extract(find_dataset(data), encoder, recipe, writer, repeats=repeats, **keywords)

    return go


@pytest.fixture(scope="session")
def tissue() -> Callable[..., None]:
    return write_image


@pytest.fixture
def dataset_jobs() -> Callable[..., list[ImageJob]]:
    """Make the jobs of all images of a dataset."""

    def make(data: Path, repeats: Iterable[int] = (0,)) -> list[ImageJob]:
        return [
            ImageJob(record, record.split, file_digest(record.path), "", tuple(repeats), frozenset())
            for record in find_dataset(data).records
        ]

    return make


@pytest.fixture
def children() -> Callable[[], list[int]]:
    """Tell the process ids of the children that this process has got since the test began."""
    before = {child.pid for child in multiprocessing.active_children()}
    return lambda: [child.pid for child in multiprocessing.active_children() if child.pid not in before]
