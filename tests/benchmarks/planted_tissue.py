"""Images in which a texture at a known place alone decides the class, and a small vision transformer that can see it.

Tissue is pink noise with dark dots. In one blob of each image lies a patch of stripes, whose direction and tint are the
class; elsewhere in the blobs lie five checkerboards, which are there in every class and have more and harder edges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASSES", "Planted", "plant", "train_encoder", "write_planted"]

CLASSES = ("across", "down", "slanted")
HEIGHT, WIDTH, RADIUS, PATCH, DECOYS = 280, 420, 54, 40, 5
CENTRES = ((75, 75), (345, 75), (210, 190))
SIDE, TOKEN = 112, 14
STEPS, BATCH = 220, 48


@dataclass(frozen=True, eq=False)
class Planted:
    """An image, its mask, where its class was planted, and what it looks like without anything planted."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    region: NDArray[np.bool_]
    plain: NDArray[np.uint8]
    label: str


def plant(seed: int, label: str) -> Planted:
    """Make one image; the same seed makes the same."""
    rng = np.random.default_rng(seed)
    plain = _tissue(rng)
    image, mask, region = plain.copy(), np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), bool)
    centres = [(x + int(rng.integers(-12, 13)), y + int(rng.integers(-12, 13))) for x, y in CENTRES]
    for number, centre in enumerate(centres):
        cv2.circle(mask, centre, RADIUS - 3 * number, 255, -1)
    places = [(x + dx, y + dy) for x, y in centres for dx in (-22, 22) for dy in (-22, 22)]
    for number, place in enumerate(rng.permutation(len(places))[: 1 + DECOYS].tolist()):
        x, y = (value - PATCH // 2 for value in places[place])
        window = np.s_[y : y + PATCH, x : x + PATCH]
        image[window] = _pattern("checks" if number else label, image[window], rng)
        region[window] |= number == 0
    return Planted(image, mask, region & (mask > 0), plain, label)


def write_planted(folder: Path, count: int, seed: int, split: str) -> dict[str, Planted]:
    """Write images in the challenge layout, the classes in turn; returned by the name of the file."""
    place = folder / f"{split}_data"
    place.mkdir(parents=True)
    made = {f"img_{n:04d}.png": plant(seed + n, CLASSES[n % len(CLASSES)]) for n in range(count)}
    for name, each in made.items():
        cv2.imwrite(str(place / name), each.image[..., ::-1])
        cv2.imwrite(str(place / name.replace("img", "mask")), each.mask)
    if split == "train":
        lines = [f"{name},{each.label}" for name, each in made.items()]
        (folder / "train_labels.csv").write_text("\n".join(["sample_index,label", *lines]) + "\n")
    return made


def train_encoder(folder: Path, seed: int = 10_000, steps: int = STEPS) -> float:
    """Train a tiny DINOv2 to tell what is planted on a crop, on images of its own, and save it.

    With 0 steps its weights are random.

    Returns
    -------
    float
        Accuracy over the last tenth of the training batches: crops that it had not seen.
    """
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small a model is slower on several
    config = Dinov2Config(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=4, mlp_ratio=2, image_size=SIDE, patch_size=TOKEN
    )
    model, head = Dinov2Model(config), torch.nn.Linear(64, len(CLASSES) + 1)
    optimiser = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-3, weight_decay=0.01)
    right: list[float] = []
    for step in range(steps):
        crops, targets = _batch(seed + step * BATCH)
        logits = head(model(pixel_values=crops).last_hidden_state[:, 0])
        loss = torch.nn.functional.cross_entropy(logits, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        right.append(float((logits.detach().argmax(1) == targets).float().mean()))
    model.save_pretrained(folder)
    processor = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "crop_size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return float(np.mean(right[-max(steps // 10, 1) :])) if right else 0.0


def _batch(seed: int):
    import torch

    from featstore.crops import cut_crop, find_blobs
    from featstore.recipe import CropSettings

    crops, targets, settings = [], [], CropSettings()
    for number in range(seed, seed + BATCH // len(CENTRES)):
        label = CLASSES[number % len(CLASSES)]
        made = plant(number, label)
        blobs = find_blobs(made.image, made.mask, settings)
        for blob in blobs.blobs:
            x0, y0, x1, y1 = blob.box
            there = made.region[y0:y1, x0:x1].any()
            if not there and blob.index == number % len(CENTRES):
                continue
            crops.append(cv2.resize(cut_crop(made.image, blobs, blob, settings), (SIDE, SIDE), cv2.INTER_AREA))
            targets.append(CLASSES.index(label) if there else len(CLASSES))
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    return (pixels - 0.5) / 0.25, torch.tensor(targets)


def _tissue(rng: np.random.Generator) -> NDArray[np.uint8]:
    grain = cv2.GaussianBlur(rng.normal(0, 40, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 2.5)[..., None]
    image = np.clip(np.array([214, 150, 190]) + grain * np.array([2, 3, 2]), 0, 255).astype(np.uint8)
    for x, y in zip(rng.integers(0, WIDTH, 180), rng.integers(0, HEIGHT, 180), strict=True):
        cv2.circle(image, (int(x), int(y)), int(rng.integers(2, 5)), (110, 70, 150), -1, cv2.LINE_AA)
    return image


def _pattern(texture: str, under: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    y, x = np.mgrid[:PATCH, :PATCH] + rng.integers(0, 8)
    wave, tint = {
        "across": (np.sin(2 * np.pi * y / 8), (-40, 10, 10)),
        "down": (np.sin(2 * np.pi * x / 8), (20, -10, -50)),
        "slanted": (np.sin(2 * np.pi * (x + y) / 11), (10, 50, 10)),
        "checks": (1.5 * np.sign(np.sin(2 * np.pi * x / 10) * np.sin(2 * np.pi * y / 10)), (0, 0, 0)),
    }[texture]
    ground = 0.5 * under + 0.5 * np.array([200, 140, 185]) + np.array(tint)
    return np.clip(ground - 28 * wave[..., None], 0, 255).astype(np.uint8)
