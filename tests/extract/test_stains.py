"""Stain normalisation in a run: of the image, not of its crops, and on record where it could not be done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from featstore.dataset import find_dataset
from featstore.errors import RecipeMismatchError
from featstore.extract import Extraction, Repeats, extract, reembed
from featstore.recipe import CropSettings, Recipe, StainSettings
from featstore.store import create_store, open_store

ONE = CropSettings()


@pytest.fixture
def stained(challenge) -> Path:
    """The same images with a second stain, which has a texture of its own."""
    for number, path in enumerate(sorted(challenge.glob("*/img_*.png"))):
        image = cv2.imread(str(path)).astype(np.float32)
        noise = np.random.default_rng(number).uniform(-1, 1, (*image.shape[:2], 1)).astype(np.float32)
        second = cv2.GaussianBlur(noise, (0, 0), 3)[..., None] * np.array([60, 300, 0])
        cv2.imwrite(str(path), np.clip(image - np.abs(second), 0, 255).astype(np.uint8))
    return challenge


@pytest.fixture
def normalised(stain_texture) -> Callable[..., Extraction]:
    def go(data: Path, path: Path, method: str = "macenko", crops: CropSettings = ONE, **keywords) -> Extraction:
        recipe = Recipe(stain_texture.settings, crops, stain=StainSettings.to(method))
        with create_store(path, recipe.to_dict(), stain_texture.settings.dim, operation="extract") as writer:
            return extract(find_dataset(data), stain_texture, recipe, writer, repeats=Repeats(train=1), **keywords)

    return go


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_colours_change_and_blobs_do_not(stained, normalised, tmp_path, method) -> None:
    normalised(stained, tmp_path / "plain.store", "none")
    normalised(stained, tmp_path / "s.store", method)
    plain, store = open_store(tmp_path / "plain.store"), open_store(tmp_path / "s.store")
    for name in ("keys", "blobs"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(store, name))
    assert not np.isclose(plain.embeddings(), store.embeddings()).all(axis=1).any()
    assert "stain" not in plain.recipe
    assert store.recipe["stain"]["method"] == method
    with pytest.raises(RecipeMismatchError, match=r"stain\.method"):
        normalised(stained, tmp_path / "plain.store", method)


def test_crops_do_not_depend_on_workers_or_on_other_crops(stained, normalised, stain_texture, tmp_path) -> None:
    normalised(stained, tmp_path / "s.store", workers=0)
    normalised(stained, tmp_path / "workers.store", workers=2, batch_size=3)
    normalised(stained, tmp_path / "more.store", crops=CropSettings(scales=(1, 2)))
    store, workers, more = (open_store(tmp_path / f"{name}.store") for name in ("s", "workers", "more"))
    assert workers.embeddings().tobytes() == store.embeddings().tobytes()
    assert more.embeddings(blobs=[0, 1]).tobytes() == store.embeddings().tobytes()
    identities = {name: row.identity for name, row in store.images.items()}
    keys = [key.item() for key in store.keys[::5]]
    again = reembed(find_dataset(stained), stain_texture, store.recipe, keys, identities)
    np.testing.assert_array_equal(again, store.embeddings()[::5])


def test_an_image_without_stain_is_used_as_it_is_and_noted(stained, normalised, tmp_path) -> None:
    pale = stained / "test_data" / "img_0001.png"
    cv2.imwrite(str(pale), np.clip(cv2.imread(str(pale)).astype(int) // 20 + 235, 0, 255).astype(np.uint8))
    found = normalised(stained, tmp_path / "s.store")
    ((image, reason, note),) = [tuple(row.values()) for row in found.unnormalised]
    assert (image, reason) == ("test_data/img_0001.png", "stains_kept")
    assert note == "stains as they were: too little stained tissue to tell them by"
    normalised(stained, tmp_path / "plain.store", "none")
    store, plain = open_store(tmp_path / "s.store"), open_store(tmp_path / "plain.store")
    assert store.images[image].note == note
    assert store.embeddings(images=[image]).tobytes() == plain.embeddings(images=[image]).tobytes()
    again = normalised(stained, tmp_path / "s.store")
    assert (again.computed, len(again.unnormalised)) == (0, 1)
