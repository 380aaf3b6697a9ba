"""Tiny models saved as their owners would save them, and crops of made-up and of real tissue."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

FILL = 128
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "real"

Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep every test away from the network and from the user's own cache; return the empty cache's folder."""
    import huggingface_hub.constants as constants

    cache = tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture(scope="session")
def save_dinov2() -> Save:
    """Save a tiny DINOv2 with random weights; the keywords go to its configuration."""

    def save(folder: Path, *, seed: int = 0, processor: dict | None = None, shard: str = "1GB", **keywords) -> Path:
        import torch
        from transformers import Dinov2Config, Dinov2Model

        settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = Dinov2Model(Dinov2Config(**(settings | {"patch_size": 14} | keywords)))
        return save_model(model, folder, processor, shard)

    return save


def save_model(model, folder: Path, processor: dict | None = None, shard: str = "1GB") -> Path:
    """Save as ``save_pretrained`` does; what transformers says while saving is none of these tests' business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder, max_shard_size=shard)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.fixture(scope="session")
def save() -> Save:
    return save_model


@pytest.fixture(scope="session")
def bit_processor() -> Callable[[int], dict]:
    """Contents of the processor's file that Phikon-v2 has."""

    def make(side: int) -> dict:
        return {
            "image_processor_type": "BitImageProcessor",
            "do_resize": True,
            "size": {"shortest_edge": side},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": side, "width": side},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            "do_convert_rgb": True,
        }

    return make


@pytest.fixture(scope="session")
def phikon_like(tmp_path_factory: pytest.TempPathFactory, save_dinov2: Save, bit_processor) -> Path:
    """A tiny model of Phikon-v2's kind: made for one size, used at another."""
    folder = tmp_path_factory.mktemp("models") / "phikon-like"
    return save_dinov2(folder, processor=bit_processor(224), image_size=518, patch_size=16)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, save_dinov2: Save, bit_processor) -> Path:
    """The same at 56 pixels, for tests that encode much."""
    return save_dinov2(tmp_path_factory.mktemp("models") / "small", processor=bit_processor(56))


@pytest.fixture(scope="session")
def save_timm() -> Save:
    """Save a tiny network of timm's with random weights, as timm does; the keywords go to its factory."""

    def save(folder: Path, architecture: str, *, seed: int = 0, told: dict | None = None, **keywords) -> Path:
        import timm
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = timm.create_model(architecture, **keywords)
            for module in model.modules():  # as after training: a fresh network normalises by 0 and 1
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 2)
        timm.models.save_for_hf(model, str(folder), safe_serialization=True, **(told or {}))
        return folder

    return save


@pytest.fixture(scope="session")
def timm_vit(tmp_path_factory: pytest.TempPathFactory, save_timm: Save) -> Path:
    """A vision transformer with a classifier of ten classes, and colours of its own."""
    folder = tmp_path_factory.mktemp("models") / "vit"
    colours = {"mean": (0.7, 0.55, 0.7), "std": (0.21, 0.25, 0.19)}
    return save_timm(folder, "test_vit", img_size=32, num_classes=10, pretrained_cfg_overlay=colours)


@pytest.fixture(scope="session")
def timm_cnn(tmp_path_factory: pytest.TempPathFactory, save_timm: Save) -> Path:
    """A convolutional network, whose embedding is longer than its map is deep."""
    folder = tmp_path_factory.mktemp("models") / "cnn"
    return save_timm(folder, "mobilenetv3_small_050", pretrained_cfg_overlay={"input_size": (3, 64, 64)})


@pytest.fixture
def random_crop() -> Callable[..., np.ndarray]:
    def make(side: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, size=(side, side, 3), dtype=np.uint8)

    return make


@pytest.fixture(scope="session")
def tissue_crop() -> Callable[..., np.ndarray]:
    """A blob of made-up H&E on the fill: pink stroma with round purple nuclei, at a place of one's choice."""

    def make(side: int = 200, *, nuclei: int = 12, radius: int = 7, at: tuple[int, int] = (0, 0), seed: int = 0):
        rng = np.random.default_rng(seed)
        size = 120
        grain = cv2.GaussianBlur(rng.normal(0, 14, (size, size, 1)).astype(np.float32), (0, 0), 1.5)[..., None]
        tissue = np.clip(np.array([214, 150, 190]) + grain * 3, 0, 255)
        for number in range(nuclei):
            centre = (20 + 27 * (number % 4) - 3 * (number // 4 % 2), 20 + 27 * (number // 4))
            cv2.circle(tissue, centre, radius, (96, 60, 140), -1, cv2.LINE_AA)
        disc = cv2.circle(np.zeros((size, size), np.uint8), (size // 2, size // 2), size // 2 - 2, 1, -1)
        crop = np.full((side, side, 3), FILL, np.uint8)
        left, top = ((side - size) // 2 + shift for shift in at)
        window = crop[top : top + size, left : left + size]
        window[disc > 0] = np.rint(tissue)[disc > 0].astype(np.uint8)
        return crop

    return make


@pytest.fixture(scope="session")
def real_crops() -> list[np.ndarray]:
    """Squares of real H&E, everything outside the mask filled."""
    folder = REAL / "he1024"
    if not folder.is_dir():
        pytest.skip("the real H&E fields (../shared/real/he1024) are not there")
    crops = []
    for path in sorted(folder.rglob("img_*.png"))[:4]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(path.with_name(path.name.replace("img", "mask"))), cv2.IMREAD_GRAYSCALE)
        x, y, w, h = cv2.boundingRect((mask > 127).astype(np.uint8))
        side = min(w, h, 320)
        window = np.s_[y : y + side, x : x + side]
        crops.append(np.where((mask > 127)[window][..., None], image[window], FILL).astype(np.uint8))
    return crops
