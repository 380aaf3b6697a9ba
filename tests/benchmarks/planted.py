"""Does a heatmap mean something? Where a planted texture alone decides the class, the map must find it.

A tiny vision transformer is trained for a minute to see the textures, on images of its own, and saved; from there on it is
a frozen encoder like any other: images are extracted into a store, and M5 is fitted on it. (Random weights see little:
the second table.) Of new images that the model gets right, each map says where to look first:

- pointing: the share of images in which its maximum lies on the planted texture;
- deletion: the probability of the class while the image turns into the same tissue without anything planted, the hottest
  pixels first; area under the curve, low is good;
- insertion: the same the other way round; high is good.

All maps are of one resolution, that of the tokens, and only within crops. The perfect map is the planted region itself.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.crops.cut import grow_box
from featstore.dataset import find_dataset
from featstore.encoders import load_encoder
from featstore.explain import Picture, StoreExplainer, area_under, deletion_curve, insertion_curve, pointing
from featstore.explain.places import lay_over
from featstore.extract import extract
from featstore.recipe import Recipe
from featstore.store import create_store, open_store
from featstore.toolkit import m5
from tests.benchmarks.planted_tissue import SIDE, TOKEN, Planted, train_encoder, write_planted

TRAIN, TEST, FOLDS = 60, 40, 5
Maps = dict[str, NDArray[np.float32]]
Row = dict[str, float]


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        train = write_planted(Path(folder) / "data", TRAIN, 0, "train")
        test = write_planted(Path(folder) / "data", TEST, 5000, "test")
        assert len(train) == TRAIN
        for name, steps in (("trained", 220), ("random", 0)):
            weights = Path(folder) / name
            train_encoder(weights, steps=steps)
            explainer = fitted(Path(folder) / "data", weights, Path(folder) / f"{name}.store")
            right, rows = measure(explainer, test, maps_of)
            print(f"Encoder with {name} weights: {right} of {TEST} new images are right, and explained.\n")
            print(table(rows) + "\n")


def fitted(data: Path, weights: Path, store: Path) -> StoreExplainer:
    """Extract, fit, and return what explains the model."""
    encoder = load_encoder("planted", weights=weights, device="cpu", precision="float32")
    recipe = Recipe(encoder.settings)
    with create_store(store, recipe.to_dict(), encoder.settings.dim, operation="extract") as writer:
        extract(find_dataset(data), encoder, recipe, writer, workers=0)
    opened = open_store(store)
    bags = opened.bags()
    return StoreExplainer(m5(0, FOLDS).fit(bags, bags.labels), opened, encoder, "m5")


def measure(
    explainer: StoreExplainer, test: Mapping[str, Planted], make: Callable[[StoreExplainer, Planted, int], Maps]
) -> tuple[int, dict[str, Row]]:
    """Tell how many images the model gets right, and the mean figures of each map over these."""
    found: dict[str, list[Row]] = {}
    right = 0
    for number, planted in enumerate(test.values()):
        seen = explainer.look(_picture(planted))
        position = explainer.classes.index(planted.label)
        if explainer.probabilities([seen.embeddings])[0].argmax() != position:
            continue
        right += 1

        def score(images, seen=seen, position=position):
            embeddings = [explainer.embed(image, seen.blobs).embeddings for image in images]
            return explainer.probabilities(embeddings)[:, position]

        for name, heat in make(explainer, planted, number).items():
            found.setdefault(name, []).append(_figures(score, planted, heat))
    means = {name: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for name, rows in found.items()}
    return right, means


def maps_of(explainer: StoreExplainer, planted: Planted, number: int) -> Maps:
    """Make each map of one image; NaN outside the crops."""
    said = explainer.explain(_picture(planted), planted.label, ("grad-cam", "rollout"))
    blobs = explainer.look(_picture(planted)).blobs.blobs
    side, margin = SIDE // TOKEN, explainer.recipe.crops.margin
    boxes = [blob.box for blob in blobs]
    noise = np.random.default_rng(number).random((len(boxes), side, side)).astype(np.float32)
    grey = cv2.cvtColor(planted.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = cv2.magnitude(*(cv2.Sobel(grey, cv2.CV_32F, *way) for way in ((1, 0), (0, 1))))
    heats = {
        "Grad-CAM at the tokens": said[0].heatmap,
        "attention rollout": said[1].heatmap,
        "edges (Sobel)": cv2.GaussianBlur(edges, (0, 0), 6),
        "random": lay_over(noise, boxes, margin, grey.shape),
        "the planted region": planted.region.astype(np.float32),
    }
    outside = np.ones(grey.shape, bool)
    for box in boxes:
        x0, y0, x1, y1 = grow_box(box, margin, grey.shape[1], grey.shape[0])
        outside[y0:y1, x0:x1] = False
    return {name: np.where(outside, np.nan, heat).astype(np.float32) for name, heat in heats.items()}


def _picture(planted: Planted) -> Picture:
    return Picture(Path("planted.png"), planted.image, planted.mask)


def _figures(score, planted: Planted, heat: NDArray[np.float32]) -> Row:
    curves = [curve(score, planted.image, planted.plain, heat) for curve in (deletion_curve, insertion_curve)]
    deletion, insertion = map(area_under, curves)
    return {"pointing": pointing(heat, planted.region), "deletion": deletion, "insertion": insertion}


def table(rows: Mapping[str, Row]) -> str:
    """Lay rows out as a Markdown table."""
    lines = ["| map | pointing | deletion | insertion |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {name} | {r['pointing']:.2f} | {r['deletion']:.3f} | {r['insertion']:.3f} |" for name, r in rows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
