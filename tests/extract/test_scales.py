"""Several scales in a store: scale 1 stays what it was, whatever else is there, and however the run went."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from featstore.dataset import find_dataset
from featstore.errors import DataError, RecipeMismatchError
from featstore.extract import Repeats, Shard, estimate, extract, reembed
from featstore.extract import run as run_module
from featstore.recipe import CropSettings, Recipe
from featstore.store import Store, create_store, merge, open_store, pack, verify

SCALES = CropSettings(scales=(1, 2))
TILES = CropSettings(scales=(1, 3), tile_px=32, tile_tissue=0.1)


@pytest.fixture
def scaled(stain_texture) -> Callable[..., Store]:
    def go(data: Path, path: Path, crops: CropSettings, *, train: int = 1, **keywords) -> Store:
        recipe = Recipe(stain_texture.settings, crops)
        with create_store(path, recipe.to_dict(), stain_texture.settings.dim, operation="extract") as writer:
            repeats = Repeats(train=train)
            extract(find_dataset(data), stain_texture, recipe, writer, repeats=repeats, **keywords)
        return open_store(path)

    return go


def assert_same(one: Store, other: Store) -> None:
    for name in ("keys", "blobs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.embeddings(), other.embeddings())


def listed(challenge: Path, path: Path, mpp: str) -> Path:
    lines = [f"train_data/img_{n:04d}.png,train_data/mask_{n:04d}.png,{'AB'[n % 2]},{mpp}" for n in range(6)]
    path.write_text("image,mask,label,mpp\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("crops", [SCALES, TILES], ids=["scales", "tiles"])
def test_scale_1_is_byte_for_byte_what_it_is_alone(challenge, scaled, tmp_path, crops) -> None:
    alone = scaled(challenge, tmp_path / "alone.store", CropSettings())
    more = scaled(challenge, tmp_path / "more.store", crops)
    blobs = more.blobs
    own = blobs[blobs["scale"] == 1]
    np.testing.assert_array_equal(own, alone.blobs)
    assert (own["blob"] == own["parent"]).all()
    assert set(blobs["scale"].tolist()) == {*crops.scales, *([0] if crops.tile_px else [])}
    keys, first = more.keys, more.keys["blob"] < 2
    np.testing.assert_array_equal(keys[first], alone.keys)
    assert more.embeddings(blobs=[0, 1]).tobytes() == alone.embeddings().tobytes()
    assert more.fingerprint != alone.fingerprint


def test_fewer_scales_are_the_beginning_of_more(challenge, scaled, tmp_path) -> None:
    two = scaled(challenge, tmp_path / "two.store", CropSettings(scales=(1, 2)))
    three = scaled(challenge, tmp_path / "three.store", CropSettings(scales=(1, 2, 4)))
    assert three.embeddings(blobs=range(4)).tobytes() == two.embeddings().tobytes()


def test_tiles_do_not_depend_on_workers_batches_shards_or_resumption(challenge, scaled, tmp_path, monkeypatch) -> None:
    first = scaled(challenge, tmp_path / "first.store", TILES, workers=0)
    assert_same(scaled(challenge, tmp_path / "workers.store", TILES, workers=2, batch_size=3), first)
    for number in (2, 1):
        parts = scaled(challenge, tmp_path / "parts.store", TILES, shard=Shard(number, 2))
    assert_same(parts, first)

    def stop(done) -> None:
        if done.images == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "COMMIT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        scaled(challenge, tmp_path / "again.store", TILES, progress=stop)
    before = len(open_store(tmp_path / "again.store"))
    assert 0 < before < len(first)
    assert_same(scaled(challenge, tmp_path / "again.store", TILES), first)


def test_repeats_of_a_store_with_tiles_grow(challenge, scaled, tmp_path) -> None:
    scaled(challenge, tmp_path / "s.store", TILES, train=0)
    grown = scaled(challenge, tmp_path / "s.store", TILES, train=2)
    version = grown.version
    assert_same(grown, scaled(challenge, tmp_path / "at_once.store", TILES, train=2))
    assert scaled(challenge, tmp_path / "s.store", TILES, train=2).version == version


def test_a_store_with_scales_is_packed_merged_and_verified(challenge, scaled, tmp_path) -> None:
    whole = scaled(challenge, tmp_path / "whole.store", TILES)
    pack(whole, tmp_path / "packed.h5")
    assert_same(open_store(tmp_path / "packed.h5"), whole)
    parts = [scaled(challenge, tmp_path / f"{n}.store", TILES, shard=Shard(n, 2)).path for n in (1, 2)]
    merge(parts, tmp_path / "merged.store")
    assert_same(open_store(tmp_path / "merged.store"), whole)
    for path in ("whole.store", "merged.store", "packed.h5"):
        assert verify(tmp_path / path).ok


def test_keys_of_tiles_are_made_again(challenge, scaled, stain_texture, tmp_path) -> None:
    store = scaled(challenge, tmp_path / "s.store", TILES)
    keys = [key.item() for key in store.keys[::7]]
    identities = {name: row.identity for name, row in store.images.items()}
    again = reembed(find_dataset(challenge), stain_texture, store.recipe, keys, identities)
    np.testing.assert_array_equal(again, store.embeddings()[::7])


def test_another_scale_is_another_store(challenge, scaled, tmp_path) -> None:
    scaled(challenge, tmp_path / "s.store", CropSettings(), train=0)
    with pytest.raises(RecipeMismatchError, match=r"crops\.scales"):
        scaled(challenge, tmp_path / "s.store", SCALES, train=0)


def test_what_is_to_be_computed_counts_all_crops(challenge, scaled, stain_texture, tmp_path) -> None:
    store = scaled(challenge, tmp_path / "s.store", TILES)
    recipe = Recipe(stain_texture.settings, TILES)
    with create_store(tmp_path / "none.store", recipe.to_dict(), stain_texture.settings.dim) as writer:
        found = estimate(find_dataset(challenge), stain_texture, recipe, writer, repeats=Repeats(train=1))
    own = int((store.blobs["scale"] == 1).sum())
    assert (found.to_compute, found.crops, found.blobs) == (len(store), len(store.blobs), own)
    with create_store(tmp_path / "s.store", recipe.to_dict(), stain_texture.settings.dim) as writer:
        again = estimate(find_dataset(challenge), stain_texture, recipe, writer, repeats=Repeats(train=1))
        run = extract(find_dataset(challenge), stain_texture, recipe, writer, repeats=Repeats(train=1))
    assert (again.crops, again.blobs) == (run.crops, run.blobs) == (found.crops, found.blobs)


def test_tiles_of_a_resolution(challenge, scaled, tmp_path) -> None:
    fine, coarse = (
        scaled(listed(challenge, challenge / f"{mpp}.csv", mpp), tmp_path / f"{mpp}.store", crops, train=0)
        for mpp, crops in (("0.5", CropSettings(tile_px=32, mpp=0.5)), ("0.25", CropSettings(tile_px=32, mpp=0.5)))
    )
    plain = scaled(listed(challenge, challenge / "0.5.csv", "0.5"), tmp_path / "s.store", CropSettings(tile_px=32))
    assert fine.embeddings().tobytes() == plain.embeddings(repeats=[0]).tobytes()
    assert len(coarse) < len(fine)
    assert coarse.images["train_data/img_0000.png"].mpp == "0.25"
    assert plain.images["train_data/img_0000.png"].mpp == ""


def test_images_without_their_resolution_are_named(challenge, scaled, tmp_path) -> None:
    crops = CropSettings(tile_px=32, mpp=0.5)
    path = listed(challenge, challenge / "some.csv", "0.5")
    path.write_text(path.read_text().replace("B,0.5", "B,"))
    with pytest.raises(DataError, match=r"3 of 6 images of unknown resolution.*img_0001\.png.*mpp"):
        scaled(path, tmp_path / "s.store", crops)
    with pytest.raises(DataError, match="8 of 8 images of unknown resolution"):
        scaled(challenge, tmp_path / "s.store", crops)


def test_another_resolution_of_an_image_is_refused(challenge, scaled, tmp_path) -> None:
    crops = CropSettings(tile_px=32, mpp=0.5)
    scaled(listed(challenge, challenge / "a.csv", "0.5"), tmp_path / "s.store", crops, train=0)
    with pytest.raises(DataError, match=r"6 of 6 images of another resolution.*img_0000\.png"):
        scaled(listed(challenge, challenge / "a.csv", "0.25"), tmp_path / "s.store", crops, train=0)
    version = open_store(tmp_path / "s.store").version
    again = scaled(listed(challenge, challenge / "a.csv", "0.5"), tmp_path / "s.store", crops, train=0)
    assert again.version == version


def test_a_wider_square_is_another_picture(challenge, scaled, tmp_path) -> None:
    store = scaled(challenge, tmp_path / "s.store", SCALES, train=0)
    rows = store.embeddings(images=["train_data/img_0000.png"])
    assert len(np.unique(rows, axis=0)) == 4


FINE = CropSettings(tile_px=32, mpp=0.5)


def pasted(path: Path) -> None:
    """Contaminate an image with a green square."""
    image = cv2.imread(str(path))
    image[20:60, 20:60] = (40, 220, 40)
    cv2.imwrite(str(path), image)


def test_a_wrong_resolution_of_images_without_embeddings_is_put_right(challenge, scaled, tmp_path) -> None:
    """They failed (tiles of 1 px here), have no blob, or are contaminated: nothing there was cut by what it said."""
    train = challenge / "train_data"
    pasted(train / "img_0003.png")
    cv2.imwrite(str(train / "img_0004.png"), np.full((160, 160, 3), 255, np.uint8))
    cv2.imwrite(str(train / "mask_0004.png"), np.zeros((160, 160), np.uint8))
    wrong = listed(challenge, challenge / "a.csv", "0.5")
    rows = wrong.read_text().splitlines()
    rows[4:7] = [row.replace(",0.5", ",20") for row in rows[4:7]]
    wrong.write_text("\n".join(rows) + "\n")
    before = scaled(wrong, tmp_path / "s.store", FINE, train=0)
    reasons = [before.images[f"train_data/img_{number:04d}.png"].left_out for number in (3, 4, 5)]
    assert all(reasons)
    after = scaled(listed(challenge, challenge / "a.csv", "0.5"), tmp_path / "s.store", FINE, train=0)
    assert_same(after, scaled(listed(challenge, challenge / "a.csv", "0.5"), tmp_path / "new.store", FINE, train=0))
    assert set(after.usable()) - set(before.usable()) == {"train_data/img_0005.png"}


def test_a_replaced_file_may_have_another_resolution(challenge, scaled, tissue, tmp_path) -> None:
    scaled(listed(challenge, challenge / "a.csv", "0.5"), tmp_path / "s.store", FINE, train=0)
    tissue(challenge / "train_data", 2, seed=77)
    path = listed(challenge, challenge / "a.csv", "0.5")
    path.write_text(path.read_text().replace("mask_0002.png,A,0.5", "mask_0002.png,A,0.25"))
    after = scaled(path, tmp_path / "s.store", FINE, train=0)
    assert after.images["train_data/img_0002.png"].mpp == "0.25"
    assert_same(after, scaled(path, tmp_path / "new.store", FINE, train=0))


def test_an_image_that_could_not_be_read_meanwhile_keeps_its_resolution(challenge, scaled, tmp_path) -> None:
    path, image = listed(challenge, challenge / "a.csv", "0.5"), challenge / "train_data/img_0001.png"
    first, away = scaled(path, tmp_path / "s.store", FINE, train=0), image.read_bytes()
    image.unlink()
    scaled(path, tmp_path / "s.store", FINE, train=0)
    image.write_bytes(away)
    path.write_text(path.read_text().replace("mask_0001.png,B,0.5", "mask_0001.png,B,0.25"))
    with pytest.raises(DataError, match=r"another resolution.*img_0001\.png"):
        scaled(path, tmp_path / "s.store", FINE, train=0)
    listed(challenge, path, "0.5")
    assert_same(scaled(path, tmp_path / "s.store", FINE, train=0), first)


def test_tiles_are_made_again_by_the_resolution_that_they_were_cut_by(challenge, scaled, stain_texture, tmp_path):
    store = scaled(listed(challenge, challenge / "a.csv", "0.5"), tmp_path / "s.store", FINE, train=0)
    rows = store.images
    told = {"resolutions": {name: row.mpp for name, row in rows.items()}}
    asked = (stain_texture, store.recipe, store.keys.tolist(), {name: row.identity for name, row in rows.items()})
    again = reembed(find_dataset(challenge / "a.csv"), *asked, **told)
    np.testing.assert_array_equal(again, store.embeddings())
    listed(challenge, challenge / "a.csv", "0.25")
    with pytest.raises(DataError, match=r"6 of 6 images of another resolution.*name the data that were extracted"):
        reembed(find_dataset(challenge / "a.csv"), *asked, **told)
