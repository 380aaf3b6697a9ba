"""Heat is at the place that decides: networks with weights set by hand, and a spot off the diagonal.

Whatever turns, mirrors or shifts a map, on its way from the tokens to the image, fails here.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from featstore.cnn import ImageClassifier
from featstore.dataset import find_dataset
from featstore.explain import NetworkExplainer, Picture, grad_cam
from featstore.explain.tokens import attention_rollout, token_grad_cam
from tests.explain.small_models import DIM, KINDS, MEANS, PATCH_PX, ROLLED, SIDE_PX, hand_set, loaded

PLACES = [(1, 5), (6, 2)]
ROTATED = ("timm-eva02", "timm-dinov3")
"""Those whose attention depends on where a patch is: they attend to all alike here."""

NEAR = 0.6
"""In cells of a map: the middle of the one that a spot is in is at most half a cell away from its own."""


def hottest(heat) -> tuple[int, int]:
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return int(row), int(column)


def crops_of(encoder) -> np.ndarray:
    """One a place, white there and the fill colour elsewhere."""
    crops = np.empty((len(PLACES), SIDE_PX, SIDE_PX, 3), np.uint8)
    crops[:] = np.round(np.array(encoder.fill) * 255).astype(np.uint8)
    for crop, (row, column) in zip(crops, PLACES, strict=True):
        crop[row * PATCH_PX : (row + 1) * PATCH_PX, column * PATCH_PX : (column + 1) * PATCH_PX] = 255
    return crops


def brightness_counts(encoder) -> np.ndarray:
    """Gradient of an embedding's brightness: that of the CLS token, of the mean, or of both."""
    gradient = np.zeros((len(PLACES), encoder.settings.dim))
    gradient[:, ::DIM] = 1
    return gradient


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_hot_at_the_patch_that_decides(kind, tmp_path) -> None:
    encoder = loaded(kind, hand_set(kind, tmp_path, looks=kind not in ROTATED))
    crops = crops_of(encoder)
    assert (encoder.encode(crops)[:, ::DIM] > 0.02).all()
    maps = [token_grad_cam(encoder.running, crops, brightness_counts(encoder))]
    maps += [attention_rollout(encoder.running, crops)] if kind in ROLLED and kind not in ROTATED else []
    for each in maps:
        assert [hottest(heat) for heat in each] == PLACES
        second = np.sort(each.reshape(len(each), -1))[:, -2]
        assert (second < each.max(axis=(1, 2)) / 3).all()


@pytest.mark.parametrize("kind", MEANS)
def test_what_a_patch_keeps_to_itself_counts_in_a_mean(kind, tmp_path) -> None:
    """Attention takes nothing over: only the mean at the end reads the patches."""
    encoder = loaded(kind, hand_set(kind, tmp_path, reads=False))
    maps = token_grad_cam(encoder.running, crops_of(encoder), brightness_counts(encoder))
    assert [hottest(heat) for heat in maps] == PLACES


def spotted(row: int, column: int, side: int) -> Picture:
    """A wide blob of violet tissue in the upper right of an image, with a white square as bright as pink tissue."""
    pixels = np.full((150, 200, 3), (140, 80, 180), np.uint8)
    half = side // 2
    pixels[row - half : row + half, column - half : column + half] = 255
    mask = np.zeros((150, 200), np.uint8)
    mask[20:100, 60:190] = 255
    return Picture(Path("spot.png"), pixels, mask)


@pytest.mark.parametrize(("row", "column"), [(85, 80), (45, 165), (85, 120)])
def test_a_store_s_model_is_hot_where_the_image_is_bright(brightness, row, column) -> None:
    """Through the mask, the margin, the square with its padding, the encoder's size, and all the way back."""
    explainer, picture = brightness.explainer(), spotted(row, column, 24)
    found = explainer.explain(picture, "pink", ("grad-cam", "rollout"))
    assert [each.method for each in found] == ["Grad-CAM at the tokens", "attention rollout"]
    (blob,) = found[0].blobs
    assert blob.contribution > 0
    cell = 130 * (1 + 2 * explainer.recipe.crops.margin) / (SIDE_PX // PATCH_PX)
    for each in found:
        assert np.abs(np.subtract(hottest(each.heatmap), (row, column))).max() <= NEAR * cell
        rows, columns = np.indices(each.heatmap.shape)
        far = np.maximum(np.abs(rows - row), np.abs(columns - column)) > 2.5 * cell
        assert each.heatmap[far].max() < each.heatmap.max() / 2


class Dark(torch.nn.Module):
    """Says "pink" where squares of 8 x 8 pixels are dark in the first channel, after one convolution."""

    feature_info = ({"module": "stage", "num_chs": 2},)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stage = torch.nn.Conv2d(channels, 2, 8, stride=8)
        with torch.no_grad():
            self.stage.weight.zero_()
            self.stage.weight[0, 0] = -1 / 64
            self.stage.bias.zero_()

    def forward(self, x):
        dark = self.stage(x)[:, 0].relu().square().mean(dim=(1, 2))
        return torch.stack([dark, -dark], dim=1)


@pytest.mark.parametrize(("row", "column"), [(0, 5), (3, 1)])
def test_convolutions_are_hot_where_an_input_is_dark(row, column) -> None:
    inputs = torch.zeros(1, 3, 32, 48)
    inputs[0, 0, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = -1
    network = Dark(3)
    (heat,) = grad_cam(network, network.stage, inputs, 0)
    assert heat.shape == (4, 6)
    assert hottest(heat) == (row, column)


@pytest.fixture(scope="module")
def networks(made) -> ImageClassifier:
    """Two networks whose places others take: what is fitted are the classes and how images are framed."""
    training = [record for record in find_dataset(made).records if record.split == "train"]
    model = ImageClassifier(
        "test_efficientnet.r160_in1k", from_scratch=True, image_size=96, n_splits=2, max_epochs=1, device="cpu"
    )
    return model.fit(training, [record.label for record in training])


@pytest.mark.parametrize(("height", "width", "row", "column"), [(100, 240, 20, 190), (240, 100, 60, 20)])
def test_networks_are_hot_where_the_image_is_dark(networks, height, width, row, column) -> None:
    """The image fills a part of the square picture: its place there is taken back."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    cv2.rectangle(pixels, (column - 20, row - 20), (column + 20, row + 20), (0, 0, 0), -1)
    explainer = NetworkExplainer(networks, "dark")
    explainer.modules = [Dark(explainer.modules[0].conv_stem.in_channels) for _ in explainer.modules]
    (found,) = explainer.explain(Picture(Path("spot.png"), pixels, np.full((height, width), 255, np.uint8)), "pink")
    assert found.heatmap.shape == (height, width)
    cell = 8 * max(height, width) / networks.network_.side_px
    assert np.abs(np.subtract(hottest(found.heatmap), (row, column))).max() <= NEAR * cell
