"""Folders and models that can't serve: each is refused with a reason, and nothing of them is run."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from featstore.encoders import load_encoder
from featstore.encoders.weights import digest_weights, find_weights
from featstore.errors import EncoderError, WeightsNotFoundError


def load(folder):
    encoder = load_encoder("owner/model", weights=folder, device="cpu", precision="float32")
    encoder.start()
    return encoder


def test_no_folder(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="save_pretrained"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_its_parts(tmp_path, save_dinov2, missing):
    folder = save_dinov2(tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(WeightsNotFoundError, match=missing):
        load(folder)


def test_pickled_weights_are_not_read(tmp_path, save_dinov2):
    folder = save_dinov2(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsNotFoundError, match="can run code"):
        load(folder)


def test_truncated_weights(tmp_path, save_dinov2):
    path = save_dinov2(tmp_path / "model") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EncoderError, match="can't load"):
        load(path.parent)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "config.json can't be read"),
        ("{", "config.json can't be read"),
        ("[]", "config.json holds a list"),
        ('{"model_type": "no-such-thing"}', "can't load"),
        ("{}", "can't load"),
    ],
)
def test_a_configuration_that_says_nothing(tmp_path, save_dinov2, text, said):
    folder = save_dinov2(tmp_path / "model")
    (folder / "config.json").write_text(text)
    with pytest.raises(EncoderError, match=said):
        load(folder)


def test_code_of_the_model_is_never_run(tmp_path, save_dinov2):
    folder = save_dinov2(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own-kind", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "was-run"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    with pytest.raises(EncoderError, match="code of the model's own"):
        load(folder)
    assert not marker.exists()


def test_weights_of_another_model(tmp_path, save_dinov2):
    folder = save_dinov2(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(EncoderError, match=r"lack \d+ of the model's tensors"):
        load(folder)


def test_weights_of_another_width(tmp_path, save_dinov2):
    folder = save_dinov2(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(EncoderError, match="can't load"):
        load(folder)


def test_a_convolutional_network_has_no_cls_token(tmp_path, save):
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    with pytest.raises(EncoderError, match="no CLS token"):
        load(save(ResNetModel(config), tmp_path / "resnet", {"size": 32}))


def test_nor_has_a_swin(tmp_path, save):
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)
    with pytest.raises(EncoderError, match="no CLS token"):
        load(save(SwinModel(config), tmp_path / "swin", {"size": 32}))


def test_a_masked_autoencoder_drops_patches_at_random(tmp_path, save):
    from transformers import ViTMAEConfig, ViTMAEModel

    config = ViTMAEConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=32, patch_size=8
    )
    with pytest.raises(EncoderError, match="at least 17 tokens"):
        load(save(ViTMAEModel(config), tmp_path / "mae", {"size": 32}))


def test_a_language_model(tmp_path, save):
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    with pytest.raises(EncoderError, match="vision transformer"):
        load(save(BertModel(config), tmp_path / "bert", {"size": 32}))


def test_the_digest_is_that_of_the_file(tmp_path, save_dinov2):
    folder = save_dinov2(tmp_path / "model")
    expected = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert load(folder).settings.weights_digest == expected
    other = save_dinov2(tmp_path / "other", seed=1)
    assert load(other).settings.weights_digest != expected


def test_sharded_weights(tmp_path, save_dinov2):
    folder = save_dinov2(tmp_path / "model", shard="20KB")
    shards = sorted(folder.glob("model-*-of-*.safetensors"))
    assert len(shards) > 1
    assert find_weights(folder) == shards
    each = sorted(hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards)
    assert load(folder).settings.weights_digest == hashlib.sha256("".join(each).encode()).hexdigest()
    assert digest_weights(shards[::-1]) == digest_weights(shards)
    shards[0].unlink()
    with pytest.raises(WeightsNotFoundError, match=shards[0].name):
        load(folder)


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", 3])
def test_an_index_can_not_point_out_of_its_folder(tmp_path, save_dinov2, shard):
    folder = save_dinov2(tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(EncoderError, match="weight_map"):
        load(folder)
