"""Stain normalisation: near the reference whatever the staining, and untouched where stains can't be told."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from featstore.crops import normalise_stains
from featstore.crops.stains import ALIKE, TOO_LITTLE
from featstore.recipe import STAIN_REFERENCES, StainSettings

HAEMATOXYLIN, EOSIN = np.reshape(STAIN_REFERENCES["macenko"][:6], (2, 3))
METHODS = ("macenko", "reinhard")
PALE = (0.9, 1.1)
"""Much paler, and eosin is too faint for Macenko to count it."""


def stained(strength=(1.0, 1.0), vectors=(HAEMATOXYLIN, EOSIN), seed=0, glass=0.3) -> np.ndarray:
    """Tissue that is mostly eosin, with nuclei, beside glass: every pixel a mixture of two stains."""
    rng = np.random.default_rng(seed)
    shape = (160, 200)
    nuclei = cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), 3) * 8
    amounts = np.stack([np.clip(nuclei, 0.02, 2), np.clip(0.9 + 0.1 * rng.standard_normal(shape) - nuclei, 0.02, 1)])
    amounts[:, :, : int(glass * shape[1])] = 0
    density = np.tensordot(amounts * np.reshape(strength, (2, 1, 1)), np.array(vectors), axes=(0, 0))
    return np.clip(240 * np.exp(-density), 0, 255).astype(np.uint8)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_none_is_the_image_itself() -> None:
    image = stained()
    assert normalise_stains(image, StainSettings()) == (image, "")


@pytest.mark.parametrize("method", METHODS)
def test_two_stainings_of_one_tissue_become_alike(method) -> None:
    turned = (HAEMATOXYLIN + np.array([0.1, -0.05, 0.08]), EOSIN + np.array([0.05, 0.05, -0.1]))
    pale, other = stained(PALE), stained((1.2, 1.6), turned)
    (a, said), (b, other_said) = (normalise_stains(image, StainSettings.to(method)) for image in (pale, other))
    assert (said, other_said) == ("", "")
    assert a.shape == pale.shape
    assert a.dtype == np.uint8
    assert apart(a, b) < apart(pale, other) / 3


@pytest.mark.parametrize("method", METHODS)
def test_what_is_like_the_reference_hardly_changes_again(method) -> None:
    settings = StainSettings.to(method)
    once, _ = normalise_stains(stained(PALE), settings)
    twice, _ = normalise_stains(once, settings)
    assert apart(once, twice) < 6


@pytest.mark.parametrize("method", METHODS)
def test_glass_stays_glass(method) -> None:
    changed, _ = normalise_stains(stained(PALE), StainSettings.to(method))
    assert changed[:, :50].min() > 225


@pytest.mark.parametrize("method", METHODS)
def test_what_a_scanner_padded_with_black_changes_nothing(method) -> None:
    image, settings = stained(PALE), StainSettings.to(method)
    padded = np.pad(image, ((0, 0), (40, 0), (0, 0)))
    expected = normalise_stains(image, settings)[0].astype(int)
    np.testing.assert_allclose(normalise_stains(padded, settings)[0][:, 40:].astype(int), expected, atol=1)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_pixels_whatever_their_order(method) -> None:
    """Nothing but the colours counts: an image turned over is the result turned over."""
    image, settings = stained(PALE), StainSettings.to(method)
    np.testing.assert_allclose(
        normalise_stains(image[::-1].copy(), settings)[0][::-1].astype(int),
        normalise_stains(image, settings)[0].astype(int),
        atol=1,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.full((90, 120, 3), 245, np.uint8), TOO_LITTLE),
        (np.zeros((20, 30, 3), np.uint8), TOO_LITTLE),
        (stained()[:, 58:62], TOO_LITTLE),
        (np.full((90, 120, 3), (140, 90, 150), np.uint8), ALIKE),
        (np.zeros((90, 120, 3), np.uint8), TOO_LITTLE),
    ],
    ids=["glass", "small", "a strip", "one colour", "black"],
)
def test_an_image_whose_stains_can_not_be_told_stays_as_it_is(method, image, why) -> None:
    changed, said = normalise_stains(image, StainSettings.to(method))
    assert changed is image
    assert said == why


def test_macenko_is_what_the_first_implementation_makes_of_real_tissue(real, read_pair) -> None:
    """By another library, where it is installed: the same levels, but that black pixels count there as stained."""
    torchstain = pytest.importorskip("torchstain.numpy.normalizers.macenko")
    for name in ("he1024/img_0003.png", "he1024/img_0012.png"):
        image, _ = read_pair(name)
        theirs, _, _ = torchstain.NumpyMacenkoNormalizer().normalize(image, stains=False)
        assert np.abs(normalise_stains(image, StainSettings.to("macenko"))[0].astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("method", METHODS)
def test_real_slides_come_nearer_to_each_other(real, read_pair, method) -> None:
    """One field of each of two slides."""
    images = [read_pair(name)[0] for name in ("he1024/img_0003.png", "he1024/img_0012.png")]
    changed = [normalise_stains(image, StainSettings.to(method))[0] for image in images]

    def colours(image: np.ndarray) -> np.ndarray:
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        return np.median(lab[image.mean(axis=2) < 200], axis=0)

    before, after = (float(np.linalg.norm(np.subtract(*map(colours, pair)))) for pair in (images, changed))
    assert after < before / 2
