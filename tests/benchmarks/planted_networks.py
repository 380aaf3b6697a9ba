"""Does the heatmap of a fine-tuned network mean something? On the planted textures of `tests.benchmarks.planted`.

A network is trained from scratch, for half an hour of one core, on whole images in which a patch of stripes decides the
class, as `featstore baseline` trains one. Of new images that it gets right, its Grad-CAM says where to look first;
pointing, deletion and insertion are as in `planted`. All maps but that of edges are of one resolution, that of the last
stage.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.cnn import ImageClassifier
from featstore.cnn.pictures import framed, tissue_of
from featstore.dataset import find_dataset
from featstore.explain import NetworkExplainer, Picture
from featstore.explain.networks import _on_image
from featstore.toolkit.logits import softmax
from tests.benchmarks.planted import Maps, Row, _figures, table
from tests.benchmarks.planted_tissue import Planted, write_planted

NETWORK, SIDE = "resnet10t.c3_in1k", 288
TRAIN, TEST, EPOCHS = 240, 30, 40


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="planted_networks", description=__doc__)
    parser.add_argument("--train", type=int, default=TRAIN)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        write_planted(data, options.train, 0, "train")
        test = write_planted(data, TEST, 9000, "test")
        records = [record for record in find_dataset(data).records if record.split == "train"]
        how = {"from_scratch": True, "body_lr": 1.0, "lr": 2e-3, "schedule": "cosine", "warmup_epochs": 2}
        model = ImageClassifier(
            NETWORK, image_size=SIDE, max_epochs=options.epochs, patience=options.epochs, random_state=0, **how
        ).set_params(batch_size=16, augmentation="none", device="cpu")
        model.fit(records, [record.label for record in records])
        explainer, rows, right = NetworkExplainer(model, "network"), {}, 0
        for number, planted in enumerate(test.values()):
            if model.classes_[_probabilities(model, planted, [planted.image])[0].argmax()] != planted.label:
                continue
            right += 1
            for kind, figures in _measure(model, explainer, planted, number).items():
                rows.setdefault(kind, []).append(figures)
    means = {kind: {key: float(np.mean([row[key] for row in each])) for key in each[0]} for kind, each in rows.items()}
    accuracy = f"{model.oof_accuracy_:.0%} of those held out in training"
    print(f"{NETWORK} at {SIDE} px, {options.train} images: {right} of {TEST} new images right, {accuracy}.\n")
    print(table(means))


def _measure(model: ImageClassifier, explainer: NetworkExplainer, planted: Planted, number: int) -> dict[str, Row]:
    target = model.classes_.tolist().index(planted.label)

    def score(images):
        return _probabilities(model, planted, images)[:, target]

    return {kind: _figures(score, planted, heat) for kind, heat in _maps(model, explainer, planted, number).items()}


def _maps(model: ImageClassifier, explainer: NetworkExplainer, planted: Planted, number: int) -> Maps:
    (found,) = explainer.explain(Picture(Path("planted.png"), planted.image, planted.mask), planted.label)
    grey = cv2.cvtColor(planted.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = cv2.magnitude(*(cv2.Sobel(grey, cv2.CV_32F, *way) for way in ((1, 0), (0, 1))))
    _, framing = framed(planted.image, planted.mask > 0, model.network_.side_px)
    noise = np.random.default_rng(number).random((SIDE // 32, SIDE // 32)).astype(np.float32)
    heats = {
        "Grad-CAM at the last stage, as explain draws it": found.heatmap,
        "edges (Sobel)": cv2.GaussianBlur(edges, (0, 0), 6),
        "random": _on_image(noise, framing),
        "the planted region": planted.region.astype(np.float32),
    }
    return {kind: heat.astype(np.float32) for kind, heat in heats.items()}


def _probabilities(model: ImageClassifier, planted: Planted, images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    import torch

    tissue = tissue_of(planted.image, planted.mask)
    pixels = np.stack([framed(image, tissue, model.network_.side_px)[0] for image in images])
    with torch.inference_mode():
        return softmax(_module(model)(model.input_of(pixels)).double().numpy())


def _module(model: ImageClassifier):
    """Build the network once."""
    if not hasattr(model, "_built"):
        model._built = model.module(0)
    return model._built


if __name__ == "__main__":
    main()
