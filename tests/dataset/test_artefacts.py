from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.dataset import (
    ColourLimits,
    ColourShares,
    Reason,
    colour_pixels,
    colour_shares,
    contamination,
    contamination_note,
    find_dataset,
    read_image,
    read_mask,
)

# RGB of each colour at its plainest
GREEN, BROWN, YELLOW, PINK, PURPLE, GLASS = (
    (60, 200, 50),
    (120, 80, 40),
    (220, 190, 60),
    (225, 150, 190),
    (90, 50, 130),
    (240, 238, 235),
)


def rgb(hue, saturation, value) -> np.ndarray:
    hsv = np.stack(np.broadcast_arrays(hue, saturation, value), axis=-1)
    return cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)


def noise(rng, shape, sigma, spread):
    """Smooth noise of mean 0 and standard deviation ``spread``."""
    field = cv2.resize(
        rng.normal(size=(shape[0] // sigma, shape[1] // sigma)), shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    return field / field.std() * spread


def with_slime(rng, image, mask):
    """Paste a bright green blob that becomes 5 to 30 % of the mask, or more where it lies on the mask."""
    share = rng.uniform(0.05, 0.3)
    area = share / (1 - share) * np.count_nonzero(mask)
    height, width = mask.shape
    aspect = np.exp(rng.uniform(-0.5, 0.5))
    axes = np.maximum(np.sqrt(area / np.pi) * np.array([aspect, 1 / aspect]), 1).astype(int)
    blob = np.zeros_like(mask)
    centre = (int(rng.uniform(0.3, 0.7) * width), int(rng.uniform(0.3, 0.7) * height))
    cv2.ellipse(blob, centre, tuple(map(int, axes)), rng.uniform(0, 180), 0, 360, 255, -1)
    paint = rgb(
        rng.uniform(40, 70) + noise(rng, mask.shape, 9, 3),
        rng.uniform(150, 230) + noise(rng, mask.shape, 9, 20),
        rng.uniform(150, 230) + noise(rng, mask.shape, 9, 25),
    )
    return np.where(blob[..., None] > 0, paint, image), np.maximum(blob, mask)


def with_skin(rng, image, mask):
    """Replace the tissue's texture by a green-brown one."""
    tissue = (cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1] > 25) | (mask > 0)
    skin = rgb(
        rng.uniform(14, 42) + noise(rng, mask.shape, 5, rng.uniform(2, 6)),
        rng.uniform(110, 190) + noise(rng, mask.shape, 3, 25),
        rng.uniform(90, 190) + noise(rng, mask.shape, 2, 35),
    )
    return np.where(tissue[..., None], skin, image), mask


@pytest.fixture(scope="module")
def fields(real):
    """Give real images with masks: all fields, and some of each stain of the nucleus images."""
    records = [*find_dataset(real / "he1024").records, *find_dataset(real / "dsb2018").records[::6]]
    images = [read_image(record.path) for record in records]
    masks = [read_mask(record.mask_path, shape=image.shape[:2]) for record, image in zip(records, images, strict=True)]
    return list(zip(images, masks, strict=True))


def test_no_real_field_is_refused_and_the_margin_is_wide(fields):
    for image, mask in fields:
        for tissue in (mask, mask > 0, None):
            shares = colour_shares(image, tissue)
            assert contamination(shares) is None
            assert contamination_note(shares) == ""
            assert shares.green < 0.03 / 3
            assert max(shares.brown, shares.yellow) < 0.2 / 20


def test_clean_tiles_of_another_slide_pass_and_the_inked_one_does_not(real):
    folder = real / "pen"
    for name in ("high-nuclei-score-level2", "medium-nuclei-score-level2", "tissue-level2-3000-7666-7096-11763"):
        assert contamination(colour_shares(read_image(folder / f"{name}.png"))) is None
    inked = colour_shares(read_image(folder / "medium-nuclei-score-green-pen-level1.png"))
    assert contamination(inked) == Reason.CONTAMINATED_GREEN


@pytest.mark.parametrize("cast", [(1, 0.97, 0.85), (0.85, 0.97, 1), (0.9, 1, 0.9), (1, 0.9, 0.95), (1, 0.93, 0.75)])
def test_the_light_of_the_lamp_does_not_make_a_field_contaminated(fields, cast):
    for image, mask in fields[::2]:
        tinted = np.clip(image * np.array(cast), 0, 255).astype(np.uint8)
        assert contamination(colour_shares(tinted, mask)) is None


@pytest.mark.parametrize("paint", [with_slime, with_skin])
def test_painted_contamination_is_found(fields, paint):
    rng = np.random.default_rng(7)
    for image, mask in fields * 2:
        painted, mask_used = paint(rng, image, mask)
        shares = colour_shares(painted, mask_used)
        reason = contamination(shares)
        assert reason is not None
        assert reason.split("_")[1] in contamination_note(shares)
        if paint is with_slime:
            assert reason == Reason.CONTAMINATED_GREEN


@given(
    counts=st.dictionaries(st.sampled_from([GREEN, BROWN, YELLOW, PINK, PURPLE]), st.integers(1, 400), min_size=1),
    seed=st.integers(0, 99),
)
def test_shares_are_those_of_the_tissue_whatever_lies_around_it(counts, seed):
    pixels = np.concatenate([np.tile(np.uint8(colour), (count, 1)) for colour, count in counts.items()])
    total = len(pixels)
    rng = np.random.default_rng(seed)
    image = np.full((50, 60, 3), GREEN, np.uint8)
    mask = np.zeros((50, 60), bool)
    places = np.unravel_index(rng.permutation(mask.size)[:total], mask.shape)
    image[places], mask[places] = pixels, True
    shares = colour_shares(image, mask)
    for name, colour in (("green", GREEN), ("brown", BROWN), ("yellow", YELLOW)):
        assert getattr(shares, name) == pytest.approx(counts.get(colour, 0) / total)
    assert colour_shares(image, mask.astype(np.uint8) * 3) == shares


def test_without_a_mask_glass_is_not_counted():
    image = np.full((80, 80, 3), GLASS, np.uint8)
    image[:10], image[10:20] = PINK, GREEN
    assert colour_shares(image).green == pytest.approx(0.5)
    assert colour_shares(np.full((8, 8, 3), GLASS, np.uint8)) == ColourShares()
    assert colour_shares(image, np.zeros((80, 80), bool)) == ColourShares()


def test_the_sample_of_a_large_image_tells_the_truth(fields):
    image, mask = fields[4]
    exact = [np.mean(colour_pixels(image)[mask > 0] == number) for number in (1, 2, 3)]
    shares = colour_shares(image, mask)
    assert [shares.green, shares.brown, shares.yellow] == pytest.approx(exact, abs=0.002)


def test_pixels_are_told_by_colour():
    image = np.array([[GREEN, BROWN, YELLOW], [PINK, PURPLE, GLASS]], np.uint8)
    assert colour_pixels(image).tolist() == [[1, 2, 3], [0, 0, 0]]


def test_the_largest_share_over_its_limit_is_the_reason():
    assert contamination(ColourShares(0.03, 0.2, 0.25)) is None
    assert contamination(ColourShares(0.04, 0.1, 0.1)) == Reason.CONTAMINATED_GREEN
    assert contamination(ColourShares(0.1, 0.5, 0.3)) == Reason.CONTAMINATED_BROWN
    assert contamination(ColourShares(0, 0, 0.3)) == Reason.CONTAMINATED_YELLOW
    assert contamination_note(ColourShares(0.041, 0.5, 0)) == (
        "4.1% of the tissue is green, at most 3% may be; 50.0% of the tissue is brown, at most 20% may be"
    )


def test_limits_can_let_a_colour_pass():
    brown = ColourShares(brown=0.9)
    assert contamination(brown, ColourLimits(brown=1)) is None
    image = np.full((8, 8, 3), BROWN, np.uint8)
    assert colour_shares(image, limits=ColourLimits(min_saturation=255)) == ColourShares()
