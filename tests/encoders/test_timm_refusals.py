"""Names and folders of timm's that can't serve: each is refused with a reason, and nothing of them is run."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch

from featstore.encoders import encoder_state, load_encoder, weights_present
from featstore.encoders.timm_names import resolve_timm
from featstore.errors import EncoderError, MissingExtraError, SettingError, WeightsNotFoundError
from tests.encoders.test_hub import COMMIT, put_in_cache


def load(folder, name="timm:mine"):
    encoder = load_encoder(name, weights=folder, device="cpu", precision="float32")
    encoder.start()
    return encoder


@pytest.fixture
def vit(tmp_path, timm_vit):
    """A copy to break."""
    return shutil.copytree(timm_vit, tmp_path / "vit")


def change(folder, **keys) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | keys))


def test_names_of_timms_own_and_of_the_hub():
    assert resolve_timm("timm:resnet50.a1_in1k") == ("timm:resnet50.a1_in1k", "timm/resnet50.a1_in1k")
    assert resolve_timm("timm:vit_small_patch16_224.dino")[1] == "timm/vit_small_patch16_224.dino"
    assert resolve_timm("timm:bioptimus/H-optimus-0") == ("timm:bioptimus/H-optimus-0", "bioptimus/H-optimus-0")
    name, hub_id = resolve_timm("timm:resnet50")
    assert name.removeprefix("timm:resnet50.")  # the tag that timm takes is part of the name from now on
    assert hub_id == f"timm/{name.removeprefix('timm:')}"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("timm:resnet50.a1_in2k", "resnet50.a1_in1k"),
        ("timm:vit_smal_patch16_224", "vit_small_patch16_224"),
        ("timm:nonsense-xyz", "list_pretrained"),
    ],
)
def test_a_name_that_timm_does_not_know(name, near):
    for call in (load_encoder, weights_present, encoder_state):
        with pytest.raises(SettingError, match=f"has no model named.*{near}"):
            call(name)


def test_a_model_without_weights():
    with pytest.raises(WeightsNotFoundError, match=r"no weights for test_vit4.*--weights DIR"):
        load_encoder("timm:test_vit4")


def test_the_hub_is_asked_as_for_any_other_encoder(no_hub, timm_vit):
    with pytest.raises(WeightsNotFoundError, match=r"owner/vit.*HF_HUB_OFFLINE"):
        load_encoder("timm:owner/vit")
    put_in_cache(no_hub, "owner/vit", timm_vit)
    assert weights_present("timm:owner/vit")
    assert "as stated at owner/vit" in encoder_state("timm:owner/vit")
    settings = load_encoder("timm:owner/vit", device="cpu").settings
    assert (settings.name, settings.revision) == ("timm:owner/vit", COMMIT)
    put_in_cache(no_hub, "timm/test_vit.r160_in1k", timm_vit)
    assert load_encoder("timm:test_vit", device="cpu").settings.name == "timm:test_vit.r160_in1k"


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_its_parts(vit, missing):
    (vit / missing).unlink()
    torch.save({}, vit / "pytorch_model.bin")
    with pytest.raises(WeightsNotFoundError, match=rf"no {missing}.*save_for_hf"):
        load(vit)


def test_truncated_weights(vit):
    path = vit / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EncoderError, match=r"vit/model\.safetensors can't be read .*download the folder again"):
        load(vit)


def test_weights_that_timm_would_resample(vit):
    change(vit, model_args={"img_size": 64})
    with pytest.raises(EncoderError, match=r"1 tensors are of another shape, the first pos_embed"):
        load(vit)


def test_weights_of_another_architecture(vit):
    change(vit, architecture="test_vit3", model_args={"img_size": 32})
    with pytest.raises(EncoderError, match=r"not those of a test_vit3: \d+ tensors are missing, the first"):
        load(vit)


def test_tensors_that_are_left_over_are_no_classifier(vit):
    change(vit, architecture="test_vit", pretrained_cfg={"input_size": [3, 32, 32], "classifier": "other"})
    with pytest.raises(EncoderError, match="2 tensors are left over, the first head"):
        load(vit)


def test_a_folder_of_another_architecture_than_its_name(vit):
    assert load(vit, "timm:test_vit.finetuned").settings.name == "timm:test_vit.finetuned"
    with pytest.raises(EncoderError, match=r"weights of a test_vit.*those of a resnet50"):
        load(vit, "timm:resnet50.a1_in1k")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"architecture": "vit_tiny_patch17_224"}, "knows no architecture.*vit_tiny_patch16_224"),
        ({"architecture": 3}, "describes no model of timm's"),
        ({"architecture": "test_vit", "model_args": [1]}, "describes no model of timm's"),
        ({"model_args": {"checkpoint_path": "/elsewhere.pth"}}, "model_args in .* has checkpoint_path"),
        ({"model_args": {"no_such": 1}}, "can't load.*no_such"),
        ({"model_args": {"mlp_layer": "os.system"}}, "can't load"),
        ({"model_args": {"img_size": [32, 48]}}, "a square"),
        ({"pretrained_cfg": {"input_size": 32}}, "input_size 32"),
        ({"model_args": {"in_chans": 4, "img_size": 32}}, r"\[3, side, side\]"),
        ({"pretrained_cfg": {"input_size": [3, 9, 9], "mean": [0, 0, 0], "std": [0, 1, 1]}}, "deviations above 0"),
    ],
)
def test_a_configuration_that_can_not_be(vit, keys, said):
    change(vit, **keys)
    with pytest.raises(EncoderError, match=said):
        load(vit)


def test_colours_that_are_not_told_are_imagenets_and_said(vit):
    change(vit, pretrained_cfg={"input_size": [3, 32, 32], "classifier": "head"})
    encoder = load(vit)
    assert "ImageNet" in encoder.notes[0]
    assert encoder.settings.mean == (0.485, 0.456, 0.406)


def test_the_two_libraries_are_told_apart(vit, small):
    with pytest.raises(EncoderError, match=r"a model of timm's.*--encoder timm:owner/model"):
        load(vit, "owner/model")
    with pytest.raises(EncoderError, match=r"no model of timm's.*Leave 'timm:' out"):
        load(small, "timm:owner/model")


def test_without_timm_the_extra_is_named(monkeypatch, vit):
    monkeypatch.setitem(sys.modules, "timm", None)
    for call in (lambda: load(vit), lambda: load_encoder("timm:resnet50")):
        with pytest.raises(MissingExtraError, match=r"pip install '\.\[cnn\]'"):
            call()


def test_a_torchvision_of_another_build_is_no_traceback(monkeypatch):
    def fail(module):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("featstore.extras.import_module", fail)
    with pytest.raises(MissingExtraError, match=r"timm, which can't be imported \(operator torchvision::nms.*\[cnn\]"):
        load_encoder("timm:resnet50")
