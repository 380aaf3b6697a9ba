"""Embeddings made again: the same bits from the same recipe, and a plain word where that can't be."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from featstore.dataset import file_digest, find_dataset
from featstore.encoders import load_encoder
from featstore.errors import DataError, RecipeMismatchError, SettingError
from featstore.extract import reembed
from featstore.store import NewLabel, open_store, relabel
from featstore.store.compare.cosines import cosines


@pytest.fixture
def extracted(challenge, run, tmp_path):
    run(challenge, tmp_path / "s.store", train=2, test=1)
    return open_store(tmp_path / "s.store")


def again(data, store, encoder, keys=None, recipe=None, **keywords):
    identities = {name: row.identity for name, row in store.images.items()}
    keys = store.keys.tolist() if keys is None else keys
    return reembed(find_dataset(data), encoder, recipe or store.recipe, keys, identities, **keywords)


def test_all_of_an_extraction_comes_out_bit_for_bit(challenge, extracted, stain_texture):
    np.testing.assert_array_equal(again(challenge, extracted, stain_texture), extracted.embeddings())


def test_some_keys_in_an_order_of_ones_own(challenge, extracted, stain_texture):
    positions = [17, 3, 30, 3, 18, 0]
    rows = again(challenge, extracted, stain_texture, extracted.keys[positions].tolist())
    np.testing.assert_array_equal(rows, extracted.embeddings()[positions])
    assert again(challenge, extracted, stain_texture, []).shape == (0, extracted.dim)


def test_only_the_crops_asked_for_are_made(challenge, extracted, stain_texture, counting):
    encoder = counting(stain_texture)
    again(challenge, extracted, encoder, [("train_data/img_0000.png", 1, 2), ("train_data/img_0000.png", 0, 1)])
    assert encoder.encoded == 2


def test_crops_go_through_a_heavy_encoder_in_batches(challenge, run, stain_texture, counting, tmp_path):
    run(challenge, tmp_path / "s.store", train=2)
    encoder = counting(stain_texture, in_worker=False)
    store = open_store(tmp_path / "s.store")
    rows = again(challenge, store, encoder, store.keys[4:10].tolist(), batch_size=4)
    np.testing.assert_array_equal(rows, store.embeddings()[4:10])
    assert encoder.batches == [4, 2]


@pytest.fixture
def counting():
    """An encoder that keeps count of what it encoded."""

    class Counting:
        def __init__(self, inner, in_worker=True) -> None:
            self.inner, self.in_worker, self.batches = inner, in_worker, []

        def __getattr__(self, name):
            return getattr(self.inner, name)

        @property
        def encoded(self) -> int:
            return sum(self.batches)

        def encode(self, prepared):
            self.batches.append(len(prepared))
            return self.inner.encode(prepared)

    return Counting


@pytest.fixture(scope="session")
def tiny_dinov2(tmp_path_factory):
    """Write a very small Dinov2Model as save_pretrained writes it."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("weights")
    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Dinov2Model(config).save_pretrained(folder)
    processor = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "crop_size": {"height": 56, "width": 56}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_real_transformer_in_any_batch(challenge, run, tiny_dinov2, tmp_path, batch_size):
    encoder = load_encoder("owner/tiny", weights=tiny_dinov2, device="cpu")
    run(challenge, tmp_path / "s.store", train=1, encoder=encoder, batch_size=9)
    store = open_store(tmp_path / "s.store")
    rows = again(challenge, store, encoder, batch_size=batch_size)
    np.testing.assert_allclose(rows, store.embeddings(), atol=1e-5)
    assert cosines(rows, store.embeddings()).min() > 1 - 1e-9


def test_weights_are_known_by_their_digest_and_not_by_the_revision(challenge, run, tiny_dinov2, tmp_path):
    """Extracted from the hub there, checked with a folder of the same weights here."""
    encoder = load_encoder("owner/tiny", weights=tiny_dinov2, device="cpu")
    run(challenge, tmp_path / "s.store", encoder=encoder)
    store = open_store(tmp_path / "s.store")
    recipe = {**store.recipe, "encoder": {**store.recipe["encoder"], "revision": "a" * 40}}
    keys = store.keys[:2].tolist()
    assert again(challenge, store, encoder, keys, recipe).shape == (2, 24)
    recipe["encoder"]["weights_digest"] = "b" * 64
    with pytest.raises(RecipeMismatchError, match=r"weights_digest is '[0-9a-f]{64}', in the recipe 'bbb.*--weights"):
        again(challenge, store, encoder, keys, recipe)


def test_another_encoder_is_refused_by_the_fields_that_differ(challenge, extracted, tiny_dinov2):
    encoder = load_encoder("owner/tiny", weights=tiny_dinov2, device="cpu")
    with pytest.raises(RecipeMismatchError, match=r"dim is 24, in the recipe 215; .*name is 'owner/tiny'"):
        again(challenge, extracted, encoder)


def test_a_changed_seed_shows_in_augmented_repeats_and_only_there(challenge, extracted, stain_texture):
    rows = again(challenge, extracted, stain_texture, recipe={**extracted.recipe, "seed": 1})
    same = (rows == extracted.embeddings()).all(axis=1)
    np.testing.assert_array_equal(same, extracted.keys["repeat"] == 0)


def test_a_changed_margin_shows_everywhere(challenge, extracted, stain_texture):
    crops = {**extracted.recipe["crops"], "margin": 0.4}
    rows = again(challenge, extracted, stain_texture, recipe={**extracted.recipe, "crops": crops})
    assert not (rows == extracted.embeddings()).all(axis=1).any()


def test_a_recipe_that_leads_to_fewer_blobs_is_caught(challenge, extracted, stain_texture):
    crops = {**extracted.recipe["crops"], "max_blobs": 1}
    with pytest.raises(DataError, match=r"img_0000\.png: the recipe does not lead to blob 1.*1 blobs are found now"):
        again(challenge, extracted, stain_texture, recipe={**extracted.recipe, "crops": crops})


def test_a_recipe_without_a_limit_costs_nothing(challenge, extracted, stain_texture):
    crops = {**extracted.recipe["crops"], "max_blobs": 10**12}
    keys = extracted.keys[:3].tolist()
    rows = again(challenge, extracted, stain_texture, keys, {**extracted.recipe, "crops": crops})
    np.testing.assert_array_equal(rows, extracted.embeddings()[:3])


def test_every_image_that_is_not_the_same_is_named(challenge, extracted, stain_texture, tissue):
    train = challenge / "train_data"
    tissue(train, 1, seed=77)
    mask = train / "mask_0002.png"
    cv2.imwrite(str(mask), 255 - cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE))
    (train / "img_0003.png").unlink()
    (train / "mask_0004.png").unlink()
    with pytest.raises(DataError) as caught:
        again(challenge, extracted, stain_texture)
    text = str(caught.value)
    assert "4 of 8 images are not what was embedded" in text
    for number, what in (
        (1, "the image has changed"),
        (2, "the mask has changed"),
        (3, "no longer in the data"),
        (4, "the mask has changed"),
    ):
        assert f"train_data/img_{number:04d}.png ({what})" in text
    assert again(challenge, extracted, stain_texture, [("train_data/img_0000.png", 0, 1)]).shape == (1, 215)


def test_a_long_list_of_changed_images_is_cut_short(challenge, extracted, stain_texture):
    for path in challenge.rglob("img_*.png"):
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"8 of 8 images.* and 3 more; expected the same files"):
        again(challenge, extracted, stain_texture)


def test_an_image_of_unknown_content_is_refused(challenge, extracted, stain_texture):
    keys = [("train_data/img_0000.png", 0, 0)]
    with pytest.raises(DataError, match="does not say which file it was"):
        reembed(find_dataset(challenge), stain_texture, extracted.recipe, keys, {keys[0][0]: ("", "")})


def test_a_recipe_from_elsewhere_is_refused(challenge, extracted, stain_texture):
    with pytest.raises(SettingError, match="recipe has no field 'crops'"):
        again(challenge, extracted, stain_texture, recipe={"encoder": {"name": "imported", "dim": 215}})


def test_splits_and_contamination_play_no_part(challenge, run, stain_texture, tmp_path):
    """A contaminated image that is a test image to the store counts there, whatever the data call it."""
    path = challenge / "train_data" / "img_0001.png"
    image = cv2.imread(str(path))
    image[20:60, 20:60] = (40, 220, 40)
    cv2.imwrite(str(path), image)
    run(challenge, tmp_path / "s.store")
    relabel(tmp_path / "s.store", [NewLabel("train_data/img_0001.png", split="test")])
    run(challenge, tmp_path / "s.store")
    store = open_store(tmp_path / "s.store")
    assert "train_data/img_0001.png" in store.usable("test")
    np.testing.assert_array_equal(again(challenge, store, stain_texture), store.embeddings())


def test_an_unreadable_file_is_named(challenge, extracted, stain_texture):
    dataset = find_dataset(challenge)
    (challenge / "test_data" / "img_0001.png").unlink()
    identities = {name: row.identity for name, row in extracted.images.items()}
    with pytest.raises(DataError, match=r"test_data/img_0001\.png \(.*img_0001\.png.*\)"):
        reembed(dataset, stain_texture, extracted.recipe, [("test_data/img_0001.png", 0, 0)], identities)


def test_an_image_that_no_longer_decodes_says_why(challenge, extracted, stain_texture):
    """The same bytes as then, and yet no picture: what a store was told need not be true."""
    broken = challenge / "train_data" / "img_0005.png"
    broken.write_bytes(b"not a picture")
    dataset = find_dataset(challenge)
    record = next(record for record in dataset.records if record.image.endswith("img_0005.png"))
    identity = (file_digest(record.path), file_digest(record.mask_path))
    with pytest.raises(DataError, match=r"does not lead to blob 0, repeat 0 \(.*img_0005\.png"):
        reembed(
            replace(dataset, records=(record,)),
            stain_texture,
            extracted.recipe,
            [(record.image, 0, 0)],
            {record.image: identity},
        )
