"""What all tests need."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from featstore.store.bags import Bags


def pytest_configure() -> None:
    """Let what the tests start hear of Ctrl-C: a shell that runs tests in the background makes all of them deaf."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a very small Dinov2Model as save_pretrained writes it."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    processor = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "crop_size": {"height": 56, "width": 56}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


REAL = Path(__file__).resolve().parents[1] / ".." / "shared" / "real"


@pytest.fixture(scope="session")
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip(f"needs the real images in {REAL.parent.name}/{REAL.name} beside the checkout")
    return REAL


@pytest.fixture(scope="session")
def read_pair(real: Path) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Read the RGB image and the grey mask of a path such as he1024/img_0001.png."""

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        path = real / name
        image = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(path.with_name(path.name.replace("img_", "mask_"))), cv2.IMREAD_GRAYSCALE)
        return image, mask

    return read


NAMES = ("HER2(+)", "Luminal A", "Luminal B", "Triple negative")


@pytest.fixture(scope="session")
def make_bags() -> Callable[..., Bags]:
    """Simulate bags: classes a little apart, blobs of an image alike, repeats of a blob more so."""

    def make(
        n_images: int = 60,
        *,
        dim: int = 12,
        repeats: int = 2,
        n_classes: int = 4,
        apart: float = 2.0,
        seed: int = 0,
        twins: int = 0,
        fingerprint: str = "",
    ) -> Bags:
        rng = np.random.default_rng(seed)
        centres = np.random.default_rng(99).standard_normal((n_classes, dim)) * apart
        classes = np.arange(n_images) % n_classes
        rows, keys = [], []
        for image, label in enumerate(classes):
            middle = centres[label] + rng.standard_normal(dim)
            for blob in range(rng.integers(1, 4)):
                at = middle + rng.standard_normal(dim)
                for repeat in range(repeats + 1):
                    rows.append(at + (0.3 * rng.standard_normal(dim) if repeat else 0))
                    keys.append((f"img_{image:04d}.png", blob, repeat))
        images, blobs, counts = zip(*keys, strict=True)
        names = [f"img_{image:04d}.png" for image in range(n_images)]
        groups = {name: f"twin {i // 2}" for i, name in enumerate(names[: 2 * twins])}
        return Bags.from_rows(
            np.array(rows, dtype=np.float32),
            images,
            blobs,
            counts,
            labels=dict(zip(names, np.array(NAMES)[classes], strict=True)),
            groups=groups,
            provenance={"fingerprint": fingerprint, "version": 1} if fingerprint else None,
        )

    return make


@pytest.fixture(scope="session")
def bags(make_bags: Callable[..., Bags]) -> Bags:
    return make_bags(60)
