"""A small dataset of made-up tissue, stores of two encoders, and models fitted on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from featstore.dataset import find_dataset
from featstore.encoders import load_encoder
from featstore.explain import Picture, StoreExplainer, open_picture
from featstore.extract import Repeats, extract
from featstore.recipe import Recipe
from featstore.store import Store, create_store, open_store
from featstore.toolkit import m4, m5, save_model
from tests.explain.small_models import hand_set, loaded

HEIGHT, WIDTH, TRAIN = 150, 200, 12


def write_image(folder: Path, number: int, blobs: int = 3) -> Path:
    """Write pink or violet noise by the class, and a mask with a few discs, the first at the image's edge."""
    rng = np.random.default_rng(number)
    noise = cv2.GaussianBlur(rng.uniform(-60, 60, (HEIGHT, WIDTH, 1)).astype(np.float32), (0, 0), 2)[..., None]
    colour = np.array([[200, 120, 170], [140, 80, 180]])[number % 2]
    image = np.clip(colour + noise * [2, 3, 2], 0, 255).astype(np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for blob, centre in enumerate([(25, 60), (120, 40), (150, 110)][:blobs]):
        angle = 20 * blob + number  # images of one mask would be twins
        cv2.ellipse(mask, centre, (34 - 4 * blob, 22), angle, 0, 360, 255, -1)
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"img_{number:04d}.png"), image[..., ::-1])
    cv2.imwrite(str(folder / f"mask_{number:04d}.png"), mask)
    return folder / f"img_{number:04d}.png"


@dataclass(frozen=True, eq=False)
class Fitted:
    """A store with its encoder, and models on it."""

    store: Store
    encoder: Any
    models: dict[str, Any]

    def explainer(self, name: str = "m5") -> StoreExplainer:
        return StoreExplainer(self.models[name], self.store, self.encoder, name)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training and four test images; the last one has one blob."""
    root = tmp_path_factory.mktemp("explain") / "data"
    for number in range(TRAIN):
        write_image(root / "train_data", number)
    for number in range(4):
        write_image(root / "test_data", 100 + number, blobs=1 if number == 3 else 3)
    lines = [f"img_{number:04d}.png,{('pink', 'violet')[number % 2]}" for number in range(TRAIN)]
    (root / "train_labels.csv").write_text("\n".join(["sample_index,label", *lines]) + "\n")
    return root


def fit(data: Path, folder: Path, encoder: Any) -> Fitted:
    recipe = Recipe(encoder.settings)
    with create_store(folder / "s.store", recipe.to_dict(), encoder.settings.dim, operation="extract") as writer:
        extract(find_dataset(data), encoder, recipe, writer, repeats=Repeats(), workers=0)
    store = open_store(folder / "s.store")
    X = store.bags()
    models = {"m4": m4(0, 2).fit(X, X.labels), "m5": m5(0, 2).fit(X, X.labels)}
    for name, model in models.items():
        save_model(model, folder / f"{name}.model")
    return Fitted(store, encoder, models)


@pytest.fixture(scope="session")
def vit(made: Path, tiny_dinov2: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    encoder = load_encoder("tiny", weights=tiny_dinov2, device="cpu", precision="float32")
    return fit(made, tmp_path_factory.mktemp("vit"), encoder)


@pytest.fixture(scope="session")
def plain(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """The same with an encoder that has no tokens."""
    return fit(made, tmp_path_factory.mktemp("plain"), load_encoder("stain-texture"))


@pytest.fixture(scope="session", params=["dinov2", "timm-registers", "timm-mean"])
def brightness(request: pytest.FixtureRequest, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """The same with encoders that see nothing but how bright the patches are: pink is brighter than violet."""
    folder = tmp_path_factory.mktemp("brightness")
    weights = hand_set(request.param, folder / "weights")
    return fit(made, folder, loaded(request.param, weights))


@pytest.fixture(scope="session")
def convolutional(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """The same with a convolutional network of timm's."""
    import timm

    folder = tmp_path_factory.mktemp("convolutional")
    model = timm.create_model("test_resnet", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 56, 56)})
    timm.models.save_for_hf(model, str(folder / "weights"), safe_serialization=True)
    return fit(made, folder, loaded("timm", folder / "weights"))


@pytest.fixture(scope="session")
def picture(made: Path) -> Picture:
    return open_picture(made / "test_data" / "img_0100.png")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
