"""Does a heatmap mean something? Where a planted texture alone decides the class, the map must find it.

A tiny vision transformer is trained, for some minutes, to see the textures, on images of its own, and saved. From there
on it is a frozen encoder like any other: images are extracted into a store, and M5 is fitted on it. The second table
is that of an encoder of random weights. Of new images that the model gets right, each map says where to look first:

- pointing: the share of images in which its maximum lies on the planted texture;
- deletion: the probability of the class while the image turns into the same tissue without anything planted, the
  hottest pixels first: area under the curve, low is good;
- insertion: the same the other way round; high is good.

All maps but that of edges are of one resolution, that of the tokens, and all are taken on the tissue of crops alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.dataset import find_dataset
from featstore.encoders import load_encoder
from featstore.encoders.running import RunningModel
from featstore.explain import Picture, StoreExplainer, area_under, deletion_curve, grad_cam, insertion_curve, pointing
from featstore.explain.heads import score_and_gradient
from featstore.explain.places import lay_over
from featstore.explain.token_layout import Place
from featstore.explain.tokens import _frozen, _through, layout_of, token_grad_cam
from featstore.explain.transformers_tokens import blocks_of
from featstore.extract import Repeats, extract
from featstore.recipe import Recipe
from featstore.store import create_store, open_store
from featstore.toolkit import m5
from tests.benchmarks.planted_tissue import STEPS as ENCODER_STEPS
from tests.benchmarks.planted_tissue import Planted, train_encoder, write_planted

TRAIN, TEST, FOLDS, STEPS = 60, 30, 5, 12
Maps = dict[str, NDArray[np.float32]]
Row = dict[str, float]


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_planted(data, TRAIN, 0, "train")
        test = write_planted(data, TEST, 9000, "test")
        for name, steps in (("trained", ENCODER_STEPS), ("random", 0)):
            weights = Path(folder) / name
            seen = train_encoder(weights, steps=steps)
            explainer = fitted(data, weights, Path(folder) / f"{name}.store")
            right, rows = measure(explainer, test, maps_of)
            told = f" (it tells {seen:.0%} of new crops)" if steps else ""
            print(
                f"Encoder of {name} weights{told}: M5 gets {right} of {TEST} new images right; these are explained.\n"
            )
            print(table(rows) + "\n")


def fitted(data: Path, weights: Path, store: Path) -> StoreExplainer:
    """Extract, fit, and return what explains the model."""
    encoder = load_encoder("planted", weights=weights, device="cpu", precision="float32")
    recipe = Recipe(encoder.settings)
    with create_store(store, recipe.to_dict(), encoder.settings.dim, operation="extract") as writer:
        extract(find_dataset(data), encoder, recipe, writer, repeats=Repeats(), workers=0)
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
    """Make each map of one image; NaN outside the tissue of its crops."""
    cam, rollout = explainer.explain(_picture(planted), planted.label, ("grad-cam", "rollout"))
    seen = explainer.look(_picture(planted))
    boxes, margin = [blob.box for blob in seen.blobs.blobs], explainer.recipe.crops.margin
    grey = cv2.cvtColor(planted.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    running, prepared = explainer.encoder.running, np.asarray(seen.prepared)
    position = explainer.classes.index(planted.label)
    _, gradient = score_and_gradient(explainer.model, seen.embeddings, position, explainer.store.fingerprint)
    side = layout_of(running).side
    noise = np.random.default_rng(number).random((len(boxes), side, side)).astype(np.float32)
    edges = cv2.magnitude(*(cv2.Sobel(grey, cv2.CV_32F, *way) for way in ((1, 0), (0, 1))))

    def laid(maps: NDArray[np.float32]) -> NDArray[np.float32]:
        return lay_over(maps, boxes, margin, grey.shape)

    heats = {
        "Grad-CAM, as explain draws it": cam.heatmap,
        "the same, blobs not scaled by contribution": laid(token_grad_cam(running, prepared, gradient)),
        "the same, of the last block alone": laid(token_grad_cam(running, prepared, gradient, last=1)),
        "textbook Grad-CAM at the last block's tokens": laid(_textbook(running, prepared, gradient, side)),
        "attention rollout": rollout.heatmap,
        "edges (Sobel)": cv2.GaussianBlur(edges, (0, 0), 6),
        "random": laid(noise),
        "the planted region": planted.region.astype(np.float32),
    }
    seen_tissue = laid(np.ones_like(noise)).astype(bool) & seen.blobs.tissue
    return {name: np.where(seen_tissue, heat, np.nan).astype(np.float32) for name, heat in heats.items()}


def _textbook(
    running: RunningModel, prepared: NDArray[np.uint8], gradient: NDArray[np.float64], side: int
) -> NDArray[np.float32]:
    """Average gradients over places, as for convolutions, at the entrance of the last block."""
    import torch

    layer, weights = torch.nn.Identity(), torch.from_numpy(gradient).float()
    with _frozen(running.model), _through(Place(blocks_of(running)[-1]), layer, side):
        pixels = running.normalise(torch.from_numpy(prepared))
        return grad_cam(lambda x: (running.library.embed(running.model, x.detach()) * weights).sum(1), layer, pixels)


def _picture(planted: Planted) -> Picture:
    return Picture(Path("planted.png"), planted.image, planted.mask)


def _figures(score, planted: Planted, heat: NDArray[np.float32]) -> Row:
    curves = [
        curve(score, planted.image, planted.plain, heat, steps=STEPS) for curve in (deletion_curve, insertion_curve)
    ]
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
    main()
