"""Images at the challenge's geometry and models of usual shapes, made up, for benchmarks that no download precedes."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

__all__ = ["SHAPES", "make_crops", "write_images", "write_model"]

HEIGHT, WIDTH = 1024, 1400

SHAPES = {
    "tiny": {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    "ViT-S": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "ViT-L": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
}
"""224 px in patches of 16, as Phikon-v2, whose shape the last is."""


DISTINCT = 32
"""Images that are drawn; more of them repeat these, in files that differ by a comment."""


def write_images(folder: Path, count: int) -> None:
    """Write so many training images in the challenge's layout, each with a sparse mask of four to six blobs."""
    target = folder / "train_data"
    target.mkdir(parents=True)
    drawn = [_files(number) for number in range(min(count, DISTINCT))]
    for number in range(count):
        image, mask = drawn[number % DISTINCT]
        (target / f"img_{number:04d}.png").write_bytes(_commented(image, number))
        (target / f"mask_{number:04d}.png").write_bytes(mask)
    labels = [f"img_{number:04d}.png,{'AB'[number % 2]}" for number in range(count)]
    (folder / "train_labels.csv").write_text("\n".join(["sample_index,label", *labels, ""]))


def make_crops(count: int, side_px: int = 224) -> np.ndarray:
    """Make pictures of stained tissue: ndarray of shape (count, side_px, side_px, 3), uint8."""
    rng = np.random.default_rng(0)
    return np.stack([_tissue(rng, side_px, side_px) for _ in range(count)])


def write_model(folder: Path, shape: str) -> None:
    """Write a model of random weights, the same ones every time, with its processor's numbers."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(**SHAPES[shape], image_size=224, patch_size=16)
    Dinov2Model(config).save_pretrained(folder)
    numbers = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "crop_size": 224}
    (folder / "preprocessor_config.json").write_text(json.dumps(numbers))


def _files(number: int) -> tuple[bytes, bytes]:
    """Draw an image and its mask, as PNG files."""
    image, mask = _image(np.random.default_rng(number))
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes(), cv2.imencode(".png", mask)[1].tobytes()


def _commented(png: bytes, number: int) -> bytes:
    """Put a number into a PNG's text, before its last chunk: another file of the same pixels."""
    text = b"tEXtComment\0" + str(number).encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return png[:-12] + chunk + png[-12:]


def _image(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw tissue on a bright ground, and a mask of some parts of it, one in a third of the image each at most."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    places = rng.permutation(6)[: rng.integers(4, 7)]
    for place in places:
        row, column = divmod(int(place), 3)
        centre = (233 + 467 * column + int(rng.integers(-15, 16)), 256 + 512 * row + int(rng.integers(-15, 16)))
        axes = tuple(int(axis) for axis in rng.integers(70, 210, 2))
        cv2.ellipse(mask, centre, axes, float(rng.integers(0, 180)), 0, 360, 255, -1)
    shown = cv2.GaussianBlur(cv2.dilate(mask, np.ones((41, 41), np.uint8)), (0, 0), 5)[..., None] / 255.0
    image = 242 * (1 - shown) + _tissue(rng, HEIGHT, WIDTH) * shown
    return image.round().astype(np.uint8), mask


def _tissue(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw pink ground and purple nuclei, with grain."""
    scales = [cv2.resize(rng.normal(size=(height // cell + 2, width // cell + 2)), (width, height)) for cell in (60, 9)]
    nuclei = (1 / (1 + np.exp(-6 * (scales[1] + 0.4 * scales[0] - 0.4))))[..., None]
    picture = np.array([222, 150, 190]) * (1 - nuclei) + np.array([105, 65, 145]) * nuclei
    picture = picture + 14 * scales[0][..., None] + rng.normal(scale=3, size=(height, width, 1))
    return np.clip(picture, 0, 255).astype(np.uint8)
