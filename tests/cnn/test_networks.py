"""Networks of timm's: found, loaded from a folder, and given a channel for the mask."""

from __future__ import annotations

import json
import shutil

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from featstore.cnn.networks import build, find_network, last_stage, normalised
from featstore.errors import EncoderError, SettingError, WeightsNotFoundError

NAME = "test_efficientnet.r160_in1k"


def save_as(folder, tensors):
    """Save weights in a folder as the hub has it."""
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")


@pytest.fixture
def network(weights):
    return find_network(NAME, weights=weights, side_px=64)


def test_what_is_known_before_it_is_built(weights):
    found = find_network(NAME, weights=weights)
    assert (found.side_px, found.name) == (160, NAME)
    assert len(found.digest) == 64
    assert find_network(NAME, from_scratch=True).digest == ""
    assert find_network("inception_v3.tv_in1k", from_scratch=True).side_px == 299
    assert find_network("inception_v3.tv_in1k", from_scratch=True).mean == (0.5, 0.5, 0.5)


def test_it_starts_as_it_was_pretrained_whatever_the_mask_says(network, weights):
    three = build(network, 5, use_mask=False, dropout=0.0)
    four = build(network, 5, use_mask=True, dropout=0.0)
    four.get_classifier().load_state_dict(three.get_classifier().state_dict())
    pixels = torch.rand(2, 4, 64, 64)
    masked = pixels.clone()
    masked[:, 3] = 1 - masked[:, 3]
    with torch.no_grad():
        plain = three(normalised(network, pixels, use_mask=False))
        torch.testing.assert_close(four(normalised(network, pixels, use_mask=True)), plain)
        torch.testing.assert_close(four(normalised(network, masked, use_mask=True)), plain)
    stem = load_file(weights / "model.safetensors")["conv_stem.weight"]
    torch.testing.assert_close(four.conv_stem.weight[:, :3], stem)


def test_the_mask_channel_learns(network):
    module = build(network, 3, use_mask=True, dropout=0.0).train()
    pixels = normalised(network, torch.rand(4, 4, 64, 64), use_mask=True)
    module(pixels).square().sum().backward()
    assert module.conv_stem.weight.grad[:, 3].abs().max() > 0


def test_from_scratch_is_decided_by_torchs_seed():
    network = find_network(NAME, from_scratch=True, side_px=64)
    torch.manual_seed(1)
    first = build(network, 3, use_mask=True, dropout=0.0)
    torch.manual_seed(1)
    second = build(network, 3, use_mask=True, dropout=0.0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert first.conv_stem.weight[:, 3].abs().max() > 0


@pytest.mark.parametrize("name", ["inception_v3.tv_in1k", "efficientnet_b0.ra_in1k"])
def test_the_last_stage_is_a_map(name):
    network = find_network(name, from_scratch=True, side_px=96)
    module = build(network, 2, use_mask=True, dropout=0.0)
    seen = []
    last_stage(module).register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape)))
    with torch.no_grad():
        module(torch.zeros(1, 4, 96, 96))
    (shape,) = seen
    assert len(shape) == 4
    assert (shape[0], shape[2]) == (1, {"inception_v3.tv_in1k": 1, "efficientnet_b0.ra_in1k": 3}[name])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("efficientnet_b00", "efficientnet_b0"),
        ("efficientnet_b0.nonsense", "no model named.*efficientnet_b0"),
        ("", "no model named ''"),
        ("owner/name", "a place on the hub"),
    ],
)
def test_unknown_names(name, said):
    with pytest.raises(SettingError, match=said):
        find_network(name, from_scratch=True)


def test_pictures_too_small_for_the_network():
    with pytest.raises(SettingError, match="32 px or more"):
        find_network(NAME, from_scratch=True, side_px=31)
    with pytest.raises(SettingError, match=r"inception_v3.*can't take pictures of 40 px"):
        build(find_network("inception_v3.tv_in1k", from_scratch=True, side_px=40), 2, use_mask=True, dropout=0.0)


def test_weights_of_another_network(weights, tmp_path):
    other = find_network("test_resnet.r160_in1k", weights=weights, side_px=64)
    with pytest.raises(
        EncoderError, match=r"holds the weights of a test_efficientnet; expected those of a test_resnet"
    ):
        build(other, 2, use_mask=True, dropout=0.0)
    save_as(tmp_path, load_file(weights / "model.safetensors"))
    other = find_network("test_resnet.r160_in1k", weights=tmp_path, side_px=64)
    with pytest.raises(EncoderError, match=r"not those of a test_resnet: \d+ tensors are missing"):
        build(other, 2, use_mask=True, dropout=0.0)


@pytest.mark.parametrize(
    ("saved", "wanted", "tensor"),
    [
        ("vit_small_patch16_224", "vit_small_patch32_224", "pos_embed"),  # patches of another size
        ("vit_tiny_patch16_384", "vit_tiny_patch16_224", "pos_embed"),  # pictures of another size
    ],
)
def test_weights_that_timm_would_resample(saved, wanted, tensor, tmp_path):
    save_as(tmp_path, timm.create_model(saved).state_dict())
    with pytest.raises(EncoderError, match=rf"not those of a {wanted}: \d tensors are of another shape, .* {tensor}"):
        build(find_network(wanted, weights=tmp_path), 2, use_mask=True, dropout=0.0)


@pytest.mark.parametrize("kind", [torch.complex64, torch.int8])
def test_weights_that_are_no_real_floats(kind, weights, tmp_path):
    tensors = load_file(weights / "model.safetensors")
    save_as(tmp_path, tensors | {"conv_stem.weight": tensors["conv_stem.weight"].to(kind)})
    with pytest.raises(EncoderError, match=r"1 tensors are no real floats, the first conv_stem\.weight"):
        build(find_network(NAME, weights=tmp_path), 2, use_mask=True, dropout=0.0)


def test_weights_of_a_larger_network_with_the_same_beginning(weights, tmp_path):
    """As EfficientNet-B1 has all tensors of a B0, and more."""
    save_as(tmp_path, load_file(weights / "model.safetensors") | {"blocks.0.1.conv.weight": torch.zeros(1)})
    with pytest.raises(EncoderError, match=r"1 tensors are left over, the first blocks\.0\.1\.conv\.weight"):
        build(find_network(NAME, weights=tmp_path), 2, use_mask=True, dropout=0.0)


def test_a_second_classifier_as_inception_v3_was_trained_with(weights, tmp_path):
    save_as(tmp_path, load_file(weights / "model.safetensors") | {"AuxLogits.fc.weight": torch.zeros(1000, 8)})
    build(find_network(NAME, weights=tmp_path), 2, use_mask=True, dropout=0.0)


def test_weights_from_before_timm_changed_its_names(tmp_path):
    name = "swin_tiny_patch4_window7_224"
    torch.manual_seed(0)
    tensors = timm.create_model(name).state_dict()
    older = {key.replace("head.fc.", "head."): tensor for key, tensor in tensors.items()}
    for before, after in ((1, 0), (2, 1), (3, 2)):  # what ends a stage began the next one later
        older = {
            key.replace(f"layers.{before}.downsample", f"layers.{after}.downsample"): t for key, t in older.items()
        }
    assert older.keys() != tensors.keys()
    save_as(tmp_path, older)
    module = build(find_network(name, weights=tmp_path), 2, use_mask=False, dropout=0.0)
    for key, tensor in module.state_dict().items():
        assert key.startswith("head.fc.") or torch.equal(tensor, tensors[key]), key


def test_damaged_weights(weights, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(weights, folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match=r"cut/model\.safetensors can't be read .*download the folder again"):
        build(find_network(NAME, weights=folder), 2, use_mask=True, dropout=0.0)
    lacking = load_file(weights / "model.safetensors")
    del lacking["blocks.0.0.conv.weight"]
    save_file(lacking, folder / "model.safetensors")
    with pytest.raises(EncoderError, match=r"1 tensors are missing, the first blocks\.0\.0\.conv\.weight"):
        build(find_network(NAME, weights=folder), 2, use_mask=True, dropout=0.0)


def test_no_weights_to_be_had(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match=r"timm/efficientnet_b0\.ra_in1k.*--from-scratch"):
        find_network("efficientnet_b0.ra_in1k")
    with pytest.raises(SettingError, match="both"):
        find_network("efficientnet_b0.ra_in1k", weights=tmp_path, from_scratch=True)
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(WeightsNotFoundError, match=r"has no model\.safetensors"):
        find_network("efficientnet_b0.ra_in1k", weights=tmp_path)
