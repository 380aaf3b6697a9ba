"""``featstore extract --encoder timm:``, from images to a fitted model."""

from __future__ import annotations

import shutil
import warnings

import pytest
import timm
import torch


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A tiny network of timm's with random weights, saved by timm."""
    folder = tmp_path_factory.mktemp("models") / "vit"
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = timm.create_model("test_vit", img_size=32, pretrained_cfg_overlay={"mean": (0.7, 0.55, 0.7)})
        timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def few(small_data, tmp_path_factory):
    """Eight of the sample's images, six of them labelled."""
    root = tmp_path_factory.mktemp("few") / "data"
    for split, count in (("train_data", 6), ("test_data", 2)):
        (root / split).mkdir(parents=True)
        for path in sorted((small_data / split).glob("*.png")):
            if int(path.stem.rpartition("_")[2]) < count:
                shutil.copy(path, root / split)
    labels = (small_data / "train_labels.csv").read_text().splitlines()
    (root / "train_labels.csv").write_text("\n".join(labels[:7]) + "\n")
    return root


def test_extraction_with_a_network_of_timms(few, network, featstore, featstore_json, tmp_path):
    store = tmp_path / "s.store"
    options = ["--encoder", "timm:mine", "--weights", network, "--device", "cpu", "--repeats", 1, "--workers", 0]
    result = featstore_json("extract", few, "--store", store, *options)
    assert result["computed"] == result["embeddings"] > 8
    encoder = featstore_json("store", "info", store)["recipe"]["encoder"]
    assert (encoder["name"], encoder["dim"], encoder["input_size_px"]) == ("timm:mine", 64, 32)
    assert encoder["mean"] == [0.7, 0.55, 0.7]
    assert featstore_json("extract", few, "--store", store, *options)["computed"] == 0
    deep = featstore("store", "verify", store, "--deep", "--data", few, "--weights", network, "--device", "cpu")
    assert deep.exit_code == 0, deep.output


def test_what_is_wrong_is_said_in_one_message(few, network, featstore, tmp_path):
    for options in (["--encoder", "timm:vit_smal_patch16_224"], ["--encoder", "timm:resnet50", "--weights", network]):
        result = featstore("extract", few, "--store", tmp_path / "s.store", *options)
        assert result.exit_code == 1
        assert "Traceback" not in result.stderr
        assert "vit" in result.stderr
    assert not (tmp_path / "s.store").exists()
