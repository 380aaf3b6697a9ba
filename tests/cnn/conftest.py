"""Small pictures that a small network learns in seconds, and its weights as the hub has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from featstore.cnn import ImageClassifier
from featstore.dataset import find_dataset

SIDE = 48
COLOURS = {"eosin": (225, 130, 170), "haematoxylin": (110, 80, 160), "pale": (235, 205, 225)}


def paint(rng: np.random.Generator, label: str, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    noise = rng.normal(0, 12, (height, width, 3)) + rng.normal(0, 6)
    return np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A challenge folder: 30 training images of three colours, 6 test images, one green one, one damaged."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    names, labels = list(COLOURS), []
    for split, count in (("train", 30), ("test", 6)):
        folder = root / f"{split}_data"
        folder.mkdir()
        for number in range(count):
            label = names[number % 3]
            image = paint(rng, label)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[6:36, 8 : 10 + number] = 255
            cv2.imwrite(str(folder / f"img_{number:04d}.png"), image[..., ::-1])
            cv2.imwrite(str(folder / f"mask_{number:04d}.png"), mask)
            if split == "train":
                labels.append(f"img_{number:04d}.png,{label}")
    green = np.clip(np.array((40, 200, 60)) + rng.normal(0, 12, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    cv2.imwrite(str(root / "train_data" / "img_0030.png"), green[..., ::-1])
    cv2.imwrite(str(root / "train_data" / "mask_0030.png"), np.full((SIDE, SIDE), 255, np.uint8))
    (root / "train_data" / "img_0031.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    labels += ["img_0030.png,pale", "img_0031.png,pale"]
    (root / "train_labels.csv").write_text("sample_index,label\n" + "\n".join(labels) + "\n")
    return root


@pytest.fixture(scope="session")
def records(data):
    """The 30 training images that are as they should be."""
    return [r for r in find_dataset(data).records if r.split == "train" and r.sample_index < "img_0030.png"]


@pytest.fixture(scope="session")
def labels(records):
    return [record.label for record in records]


@pytest.fixture(scope="session")
def make() -> Callable[..., ImageClassifier]:
    """Make a classifier that is quick to fit."""

    def classifier(**settings) -> ImageClassifier:
        quick = {"from_scratch": True, "body_lr": 1.0, "lr": 1e-2, "image_size": 32, "batch_size": 8, "max_epochs": 6}
        return ImageClassifier(
            "test_efficientnet.r160_in1k", **{**quick, "random_state": 0, "device": "cpu", **settings}
        )

    return classifier


@pytest.fixture(scope="session")
def fitted(make, records, labels) -> ImageClassifier:
    return make(n_splits=2, max_epochs=20, patience=20, calibrate=True).fit(records, labels)


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """Weights of the small network, in a folder as the hub has it."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(7)
    network = timm.create_model("test_efficientnet", pretrained=False)
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "test_efficientnet"}))
    return folder
