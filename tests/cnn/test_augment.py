"""Augmentation: keyed draws, and what they do to a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featstore.cnn.augment import NUMBERS, STRENGTHS, Strength, augment, draw

DIGESTS = [f"{i:064x}" for i in range(40)]


@pytest.fixture(scope="module")
def pixels():
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(40, 3, 24, 24, generator=generator)
    return torch.cat([colours, (colours[:, :1] > 0.5).float()], dim=1)


def test_draws_are_of_the_image_and_the_epoch_alone():
    rows = draw(3, DIGESTS, 5)
    assert rows.shape == (40, NUMBERS)
    assert np.array_equal(draw(3, DIGESTS[::-1], 5)[::-1], rows)
    assert np.array_equal(draw(3, DIGESTS[7:9], 5), rows[7:9])
    for other in (draw(4, DIGESTS, 5), draw(3, DIGESTS, 6)):
        assert not (other == rows).any()


def test_draws_are_uniform():
    rows = draw(0, [str(i) for i in range(4000)], 1)
    assert rows.min() >= 0
    assert rows.max() < 1
    assert np.abs(rows.mean(axis=0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(rows.T) - np.eye(NUMBERS)).max() < 0.08


def test_an_image_of_a_batch_is_what_it_is_alone(pixels):
    drawn = draw(0, DIGESTS, 1)
    whole = augment(pixels, drawn, STRENGTHS["strong"])
    for place in (0, 17, 39):
        alone = augment(pixels[place : place + 1], drawn[place : place + 1], STRENGTHS["strong"])
        torch.testing.assert_close(alone[0], whole[place], rtol=0, atol=1e-5)


@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
def test_colours_stay_colours_and_masks_stay_masks(pixels, strength):
    found = augment(pixels, draw(0, DIGESTS, 1), strength)
    assert found.shape == pixels.shape
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6


def test_none_changes_nothing(pixels):
    assert augment(pixels, draw(0, DIGESTS, 1), STRENGTHS["none"]) is pixels


def test_neutral_draws_of_any_strength_change_nothing(pixels):
    neutral = np.full((40, NUMBERS), 0.5)
    neutral[:, 10] = 0.99
    torch.testing.assert_close(augment(pixels, neutral, STRENGTHS["strong"]), pixels, rtol=0, atol=2e-5)


def test_flips_are_exact_and_take_the_mask_along(pixels):
    drawn = np.full((40, NUMBERS), 0.5)
    drawn[:, 2], drawn[:, 3], drawn[:, 10] = 0.2, 0.8, 0.99
    found = augment(pixels, drawn, Strength(flips=True))
    torch.testing.assert_close(found, pixels.flip(3), rtol=0, atol=2e-5)


def test_a_quarter_turn(pixels):
    drawn = np.full((40, NUMBERS), 0.5)
    drawn[:, 0], drawn[:, 10] = 0.75, 0.99  # half of 180 degrees
    found = augment(pixels, drawn, Strength(rotation_deg=180))
    turned = [torch.rot90(pixels, k, (2, 3)) for k in (1, 3)]
    assert min(float((found - other).abs().max()) for other in turned) < 1e-3


def test_light_and_colour_leave_the_mask_as_it_is(pixels):
    found = augment(pixels, draw(0, DIGESTS, 1), Strength(light=0.2, colour=0.2))
    torch.testing.assert_close(found[:, 3], pixels[:, 3], rtol=0, atol=1e-5)
    assert (found[:, :3] - pixels[:, :3]).abs().mean() > 0.02


def test_saturation_and_hue_keep_the_luma(pixels):
    middle = 0.4 + 0.2 * pixels
    found = augment(middle, draw(0, DIGESTS, 1), Strength(colour=0.2))
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close((found[:, :3] * luma).sum(1), (middle[:, :3] * luma).sum(1), rtol=0, atol=2e-3)


def test_what_is_erased_is_grey_and_no_tissue(pixels):
    drawn = draw(0, DIGESTS, 1)
    found = augment(pixels, drawn, Strength(erase=1.0))
    grey = (found[:, :3] == 0.5).all(1)
    share = grey.float().mean((1, 2))
    assert ((share > 0.005) & (share < 0.2)).all()
    assert (found[:, 3][grey] == 0).all()
    assert np.mean((augment(pixels, drawn, Strength(erase=0.25))[:, :3] == 0.5).all(1).any(1).any(1).numpy()) < 0.5
