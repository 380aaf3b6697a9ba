from __future__ import annotations

import cv2
import numpy as np
import pytest

from featstore.dataset import find_tissue


@pytest.mark.parametrize("colour", [(255, 255, 255), (200, 205, 200), (128, 128, 128), (0, 0, 0), (250, 200, 220)])
def test_blank_images_have_none(colour: tuple[int, int, int]) -> None:
    blank = np.empty((120, 160, 3), np.uint8)
    blank[:] = colour
    assert not find_tissue(blank).any()


def test_noisy_glass_and_dust_are_not_tissue() -> None:
    rng = np.random.default_rng(0)
    glass = np.clip(rng.normal(235, 4, (256, 256, 3)), 0, 255).astype(np.uint8)
    glass[100, 100] = glass[30, 200] = 20
    assert not find_tissue(glass).any()


def test_uneven_light_is_not_tissue() -> None:
    slope = np.linspace(205, 245, 256).astype(np.uint8)
    image = np.repeat(np.broadcast_to(slope, (256, 256))[..., np.newaxis], 3, axis=2).copy()
    image[100:140, 60:200] = (205, 130, 170)
    truth = np.zeros((256, 256), bool)
    truth[100:140, 60:200] = True
    assert (find_tissue(image) != truth).mean() < 0.01


def test_black_padding_is_not_tissue() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, :100] = np.clip(rng.normal((190, 110, 160), 20, (200, 100, 3)), 0, 255).astype(np.uint8)
    found = find_tissue(image)
    assert found[:, :98].all()
    assert not found[:, 102:].any()


def test_grey_images_work() -> None:
    image = np.full((200, 200, 3), 240, np.uint8)
    cv2.circle(image, (100, 100), 50, (120, 120, 120), -1)
    assert find_tissue(image).mean() == pytest.approx(np.pi * 50**2 / 200**2, rel=0.05)


@pytest.mark.parametrize("side", [1, 2, 3, 10])
def test_tiny_images_do_not_fail(side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    assert find_tissue(image).shape == (side, side)


@pytest.mark.parametrize("number", [10, 12, 13])
def test_a_real_field_without_glass_stays_whole(read_pair, number: int) -> None:
    image, _ = read_pair(f"he1024/img_{number:04d}.png")
    tissue = find_tissue(image)
    _, _, stats, _ = cv2.connectedComponentsWithStats(tissue.view(np.uint8), connectivity=8)
    assert stats[1:, cv2.CC_STAT_AREA].max() > 0.93 * tissue.size


@pytest.mark.parametrize(("number", "low", "high"), [(0, 0.1, 0.25), (2, 0.25, 0.4), (6, 0.3, 0.42), (11, 0.45, 0.6)])
def test_real_fields_on_glass(read_pair, number: int, low: float, high: float) -> None:
    image, mask = read_pair(f"he1024/img_{number:04d}.png")
    tissue = find_tissue(image)
    assert low < tissue.mean() < high
    assert tissue[mask > 0].mean() > 0.9
    assert not tissue[(image > 240).all(axis=2)][::7].mean() > 0.1


@pytest.mark.parametrize("number", [0, 12, 14, 33, 62, 71])
def test_purple_on_purple_is_tissue_throughout(read_pair, number: int) -> None:
    image, _ = read_pair(f"dsb2018/train_data/img_{number:04d}.png")
    assert find_tissue(image).all()


@pytest.mark.parametrize("number", [4, 13, 30, 36, 50, 59])
def test_cells_on_glass_are_found(read_pair, number: int) -> None:
    image, mask = read_pair(f"dsb2018/train_data/img_{number:04d}.png")
    tissue = find_tissue(image)
    nuclei = cv2.erode(mask, np.ones((7, 7), np.uint8)) > 0
    assert tissue[nuclei].mean() > 0.85
    assert tissue.mean() < 0.6
