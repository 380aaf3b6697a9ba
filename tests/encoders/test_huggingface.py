"""Models in folders: parity with transformers, what they are recorded as, and which of them are refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from featstore.encoders import load_encoder
from featstore.errors import EncoderError


def load(folder, name="phikon-v2", precision="float32"):
    return load_encoder(name, weights=folder, device="cpu", precision=precision)


def transformers_says(folder, crops):
    """What transformers itself makes of crops: its processor's pixels, and its model's CLS embedding."""
    from transformers import AutoImageProcessor, AutoModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True).float().eval()
        pixels = processor(images=list(crops), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        return pixels.numpy(), model(pixel_values=pixels).last_hidden_state[:, 0, :].numpy()


@pytest.mark.parametrize(("model", "side"), [("phikon_like", 224), ("small", 56)])
def test_parity_with_transformers(request, model, side, random_crop):
    folder = request.getfixturevalue(model)
    encoder = load(folder)
    crops = [random_crop(side, seed) for seed in range(3)]
    pixels, embeddings = transformers_says(folder, crops)
    np.testing.assert_allclose(
        encoder.running.normalise(torch.from_numpy(np.stack(crops))).numpy(), pixels, rtol=0, atol=1e-6
    )
    found = encoder.encode([encoder.prepare(crop) for crop in crops])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, embeddings, rtol=0, atol=1e-4)


def test_parity_on_real_tissue(small, real_crops):
    encoder = load(small)
    prepared = [encoder.prepare(crop) for crop in real_crops]
    _, embeddings = transformers_says(small, prepared)
    np.testing.assert_allclose(encoder.encode(prepared), embeddings, rtol=0, atol=1e-4)


def test_parity_with_a_vit(tmp_path, save, random_crop):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=32, patch_size=8
    )
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    processor |= {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_resize": True, "do_rescale": True}
    folder = save(ViTModel(config, add_pooling_layer=False), tmp_path / "vit", processor | {"do_normalize": True})
    crops = [random_crop(32, seed) for seed in range(2)]
    encoder = load(folder, "owner/vit")
    _, embeddings = transformers_says(folder, crops)
    np.testing.assert_allclose(encoder.encode(crops), embeddings, rtol=0, atol=1e-4)
    assert encoder.fill == (0.5, 0.5, 0.5)


def test_a_vit_at_another_size_than_its_own_interpolates(tmp_path, save, random_crop):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=32)
    config.patch_size = 8
    encoder = load(save(ViTModel(config), tmp_path / "vit", {"size": 48}), "owner/vit")
    assert encoder.settings.input_size_px == 48
    assert encoder.encode([random_crop(48)]).shape == (1, 24)


def test_what_the_recipe_and_the_record_say(phikon_like):
    encoder = load(phikon_like)
    settings = encoder.settings
    assert (settings.name, settings.dim, settings.revision, settings.pooling) == ("phikon-v2", 32, "", "cls")
    assert settings.input_size_px == 224
    assert settings.mean == encoder.fill == (0.485, 0.456, 0.406)
    assert not encoder.in_worker
    assert encoder.notes == ()
    assert encoder.how == {}
    encoder.start()
    assert encoder.settings == settings
    assert encoder.how["device"] == "cpu"
    assert encoder.how["precision"] == "float32"
    assert {"torch", "transformers"} <= encoder.how.keys()
    assert not encoder.running.model.training


def test_a_batch_of_none_and_a_batch_of_many(small, random_crop):
    encoder = load(small)
    assert encoder.encode([]).shape == (0, 32)
    crops = [random_crop(56, seed) for seed in range(5)]
    together, alone = encoder.encode(crops), np.concatenate([encoder.encode([crop]) for crop in crops])
    cosine = (together * alone).sum(1) / np.linalg.norm(together, axis=1) / np.linalg.norm(alone, axis=1)
    assert cosine.min() > 0.99999


def test_what_was_not_prepared_is_refused(small, random_crop):
    with pytest.raises(EncoderError, match="prepare"):
        load(small).encode([random_crop(60)])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_recorded_and_near(small, random_crop, precision):
    crops = [random_crop(56, seed) for seed in range(3)]
    half, whole = load(small, precision=precision), load(small)
    found, expected = half.encode(crops), whole.encode(crops)
    assert half.how["precision"] == precision
    assert half.settings == whole.settings
    assert found.dtype == np.float32
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.999


def test_a_checkpoint_in_half_precision_is_read_as_float32(tmp_path, save, small, random_crop):
    from transformers import AutoModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModel.from_pretrained(small).half()
    processor = (small / "preprocessor_config.json").read_text()
    folder = save(model, tmp_path / "half")
    (folder / "preprocessor_config.json").write_text(processor)
    read, whole = (load(each) for each in (folder, small))
    assert all(parameter.dtype == torch.float32 for parameter in read.running.model.parameters())
    assert np.abs(read.encode([random_crop(56)]) - whole.encode([random_crop(56)])).max() < 0.05


def test_embeddings_that_are_not_finite_name_the_precision(small, random_crop):
    encoder = load(small)
    with torch.no_grad():
        encoder.running.model.layernorm.weight.fill_(float("inf"))
    with pytest.raises(EncoderError, match="float32 are not finite"):
        encoder.encode([random_crop(56)])


def test_without_a_processor_imagenet_is_assumed_and_said(tmp_path, save_dinov2):
    folder = save_dinov2(tmp_path / "bare")
    encoder = load(folder, "owner/model")
    assert "preprocessor_config.json" in encoder.notes[0]
    assert encoder.settings.input_size_px == 56
    assert encoder.settings.mean == (0.485, 0.456, 0.406)


def test_phikon_knows_its_processor_by_itself(tmp_path, save_dinov2):
    encoder = load(save_dinov2(tmp_path / "bare", image_size=112))
    assert encoder.notes == ()
    assert encoder.settings.input_size_px == 224


def test_loading_is_silent(small, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(small).start()
    assert capfd.readouterr() == ("", "")
    assert caught == []


def test_loading_leaves_the_logging_of_transformers_as_it_was(small):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(small).start()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
