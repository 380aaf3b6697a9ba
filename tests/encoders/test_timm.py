"""Networks of timm: parity with timm alone, what they are recorded as, and pathology's own ways of being built."""

from __future__ import annotations

import json
import pickle
import sys
import warnings

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from featstore.encoders import ModelEncoder, load_encoder
from featstore.encoders.precision import least_cosine, probe_pictures
from featstore.encoders.timm_network import read_plan
from featstore.encoders.weights import digest_weights
from featstore.errors import EncoderError

SIDES = {"timm_vit": 32, "timm_cnn": 64}


def load(folder, name="timm:mine", precision="float32") -> ModelEncoder:
    return load_encoder(name, weights=folder, device="cpu", precision=precision)


def timm_says(folder, pictures: np.ndarray) -> np.ndarray:
    """What timm alone makes of pictures, one by one: its loader, its numbers, its pooling."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    data = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(data[key]).view(3, 1, 1) for key in ("mean", "std"))
    rows = []
    with torch.inference_mode():
        for picture in pictures:
            pixels = torch.from_numpy(picture).permute(2, 0, 1) / 255
            features = model.forward_features(((pixels - mean) / std)[None])
            rows.append(model.forward_head(features, pre_logits=True)[0].numpy())
    return np.stack(rows)


@pytest.fixture(params=sorted(SIDES))
def model(request):
    """A network's folder, and pictures of its size."""
    return request.getfixturevalue(request.param), probe_pictures(6, SIDES[request.param])


def test_parity_with_timm(model):
    folder, pictures = model
    encoder, expected = load(folder), timm_says(folder, pictures)
    found = encoder.encode([encoder.prepare(picture) for picture in pictures])
    assert (found.dtype, found.shape) == (np.float32, (6, encoder.settings.dim))
    assert least_cosine(found, expected) >= 0.99999
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert least_cosine(found, np.roll(expected, 1, axis=0)) < 0.9999


def test_embeddings_do_not_depend_on_the_batch_size(model):
    folder, pictures = model
    encoder = load(folder)
    together, alone = encoder.encode(pictures), np.concatenate([encoder.encode(one[None]) for one in pictures])
    assert least_cosine(together, alone) >= 0.99999
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * np.abs(together).max())


def test_half_precision_is_near(model):
    folder, pictures = model
    half = load(folder, precision="bfloat16")
    assert least_cosine(half.encode(pictures), load(folder).encode(pictures)) > 0.999
    assert half.how["precision"] == "bfloat16"


def test_what_the_recipe_and_the_record_say(timm_vit, timm_cnn):
    """All but what runs is told by the files, without loading the weights."""
    vit, cnn = load(timm_vit), load(timm_cnn, "timm:mobilenetv3_small_050.mine")
    assert vit.how == cnn.how == {}
    settings = vit.settings
    assert (settings.name, settings.dim, settings.revision, settings.pooling) == ("timm:mine", 64, "", "timm")
    assert (settings.input_size_px, settings.mean, settings.std) == (32, (0.7, 0.55, 0.7), (0.21, 0.25, 0.19))
    assert settings.weights_digest == digest_weights([timm_vit / "model.safetensors"])
    assert (cnn.settings.dim, cnn.settings.input_size_px) == (1024, 64)
    vit.start()
    assert vit.settings == settings
    assert vit.how["timm"] == timm.__version__
    assert "transformers" not in vit.how
    assert not vit.running.model.training


def test_where_a_network_can_not_be_built_without_numbers_it_is_loaded_at_once(timm_vit, monkeypatch):
    """As in some versions of timm, which look at numbers while they build."""
    foreseen = load(timm_vit)
    monkeypatch.setattr("featstore.encoders.timm_folder._foreseen", lambda *_: None)
    found = load(timm_vit)
    assert found.settings == foreseen.settings
    assert found.how["timm"] == timm.__version__


def test_loading_is_silent(timm_vit, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(timm_vit).start()
    assert capfd.readouterr() == ("", "")
    assert caught == []


def test_one_that_is_pickled_starts_anew_and_makes_sure_of_its_weights(tmp_path, save_timm):
    folder = save_timm(tmp_path / "vit", "test_vit", img_size=32)
    encoder, pictures = load(folder), probe_pictures(2, 32)
    expected = encoder.encode(pictures)
    arrived = pickle.loads(pickle.dumps(encoder))  # noqa: S301 - as to a worker
    np.testing.assert_array_equal(arrived.encode(pictures), expected)
    sent = pickle.dumps(encoder)
    save_timm(folder, "test_vit", img_size=32, seed=1)
    with pytest.raises(EncoderError, match="are others than"):
        pickle.loads(sent).start()  # noqa: S301


def test_layers_are_named_and_a_network_without_pooling_gives_class_and_mean(tmp_path, save_timm):
    """As Virchow2 is built: packed SwiGLU, registers, all tokens."""
    layers = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
    told = {"model_args": {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}}
    options = {"img_size": 32, "num_classes": 0, "global_pool": "", "reg_tokens": 4, **layers}
    folder = save_timm(tmp_path / "vit", "test_vit", told=told, **options)
    encoder, pictures = load(folder, "timm:paige-ai/Virchow2"), probe_pictures(3, 32)
    assert (encoder.settings.dim, encoder.settings.pooling) == (128, "cls+mean")
    plain = timm.create_model("test_vit", **options).eval()
    plain.load_state_dict(load_file(folder / "model.safetensors"))
    with torch.inference_mode():
        tokens = plain(encoder.running.normalise(torch.from_numpy(pictures))).numpy()
    expected = np.concatenate([tokens[:, 0], tokens[:, 5:].mean(axis=1)], axis=1)
    np.testing.assert_allclose(encoder.encode(pictures), expected, rtol=0, atol=1e-5)


def test_what_the_page_of_a_model_says_is_known_by_its_name(tmp_path, save_timm):
    """A config.json of Virchow's says nothing of its layers."""
    layers = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
    told = {"model_args": {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}}
    folder = save_timm(tmp_path / "vit", "test_vit", told=told, img_size=32, num_classes=0, **layers)
    config = json.loads((folder / "config.json").read_text())
    del config["model_args"]["mlp_layer"], config["model_args"]["act_layer"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load(folder, "timm:paige-ai/Virchow").encode(probe_pictures(1, 32)).shape == (1, 64)
    with pytest.raises(EncoderError, match=r"not those of a test_vit: \d+ tensors are of another shape"):
        load(folder).start()


@pytest.mark.parametrize(
    ("name", "architecture", "millions", "dim"),
    [
        ("timm:MahmoodLab/UNI2-h", "vit_giant_patch14_224", 681, 1536),
        ("timm:paige-ai/Virchow2", "vit_huge_patch14_224", 631, 2560),
    ],
)
def test_pathologys_models_have_the_size_that_their_authors_state(tmp_path, name, architecture, millions, dim):
    """Built without numbers, which takes no memory."""
    arguments = {"img_size": 224, "init_values": 1e-5, "mlp_ratio": 5.3375, "reg_tokens": 4, "global_pool": ""}
    config = {"architecture": architecture, "pretrained_cfg": {"input_size": [3, 224, 224]}}
    if "Virchow" in name:
        config["model_args"] = arguments
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with torch.device("meta"):
        network = read_plan(name, tmp_path).build()
    assert round(sum(each.numel() for each in network.parameters()) / 1e6) == millions
    assert load(tmp_path, name).settings.dim == dim


def test_weights_from_before_timm_changed_its_names(tmp_path, save_timm):
    """Swin's classifier was ``head`` once, and is ``head.fc`` now, with the stages counted otherwise."""
    small = {"img_size": 56, "window_size": 7, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2)}
    folder = save_timm(tmp_path / "swin", "swin_tiny_patch4_window7_224", num_classes=3, **small)
    pictures = probe_pictures(2, 56)
    expected = load(folder).encode(pictures)
    tensors = load_file(folder / "model.safetensors")
    older = {
        key.replace("head.fc.", "head.").replace("layers.1.downsample", "layers.0.downsample"): value
        for key, value in tensors.items()
    }
    assert older.keys() != tensors.keys()
    save_file(older, folder / "model.safetensors")
    np.testing.assert_array_equal(load(folder).encode(pictures), expected)


def test_a_configuration_of_one_level_as_older_timm_wrote_it(tmp_path, timm_vit):
    config = json.loads((timm_vit / "config.json").read_text())
    flat = {"architecture": config["architecture"], "num_features": 64, **config["pretrained_cfg"]}
    flat |= {"input_size": [3, 32, 32], "fixed_input_size": True, "labels": ["a"], "of_tomorrow": 1}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    (tmp_path / "model.safetensors").symlink_to(timm_vit / "model.safetensors")
    pictures = probe_pictures(2, 32)
    np.testing.assert_array_equal(load(tmp_path).encode(pictures), load(timm_vit).encode(pictures))


def test_transformers_is_not_needed(timm_vit, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert load(timm_vit).encode(probe_pictures(2, 32)).shape == (2, 64)
