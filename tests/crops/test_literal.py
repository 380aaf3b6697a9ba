"""The fast way is held against the literal one: the same random draws, close pixels.

The measure is the mean absolute difference in levels of 255, and the cosine of embeddings. At its own size a crop comes
out of every single step as the literal way makes it, but that places are rounded to a 32nd of a pixel, and elastic
fields interpolated. Brought to a smaller size, a pixel averages what several were, and the order of averaging and of
the steps is another: that, and noise that is drawn for other pixels, is the difference there.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from featstore.crops import Draws, augment, bring_to_working_size, draw
from featstore.encoders import load_encoder
from featstore.encoders.processor import Resize
from featstore.errors import DataError
from featstore.recipe import AugmentationSettings
from tests.crops.literal import augment_literally

GREY = (0.5, 0.5, 0.5)
SIZE = 224
SIDES = [225, 300, 448, 720, 1000]


def smaller(crop: np.ndarray) -> np.ndarray:
    return crop if len(crop) <= SIZE else cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def fast(crop: np.ndarray, draws: Draws) -> np.ndarray:
    side, size = len(crop), min(SIZE, len(crop))
    return augment(bring_to_working_size(crop, size), draws, GREY, side_px=side, size_px=size)


def away(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def usual(repeat: int, **settings: object) -> Draws:
    return draw(AugmentationSettings(**settings), seed=0, image_digest="literal", blob=0, repeat=repeat)


@pytest.fixture(scope="module")
def tissue(read_pair):
    """Cut crops of any side: real tissue, the fill around it."""
    image, _ = read_pair("he1024/img_0012.png")

    def cut(side: int) -> np.ndarray:
        margin = side // 12
        crop = np.full((side, side, 3), 128, np.uint8)
        crop[margin:-margin, margin:-margin] = image[: side - 2 * margin, : side - 2 * margin]
        return crop

    return cut


STEPS = {
    "nothing": {},
    "flip across": {"flip_horizontal": True},
    "flip down": {"flip_vertical": True},
    "rotation": {"rotation_deg": -13.0},
    "rotation and flip": {"rotation_deg": 11.0, "flip_horizontal": True},
    "elastic": {"elastic_alpha_px": 25.0},
    "brightness": {"brightness": 1.04},
    "contrast": {"contrast": 0.96},
    "saturation": {"saturation": 1.05},
    "hue": {"hue": 0.03},
    "hue the other way": {"hue": -0.04},
    "stains": {"stain_alpha": (0.85, 1.15, 1.1), "stain_beta": (0.05, -0.05, 0.02)},
    "blur": {"blur": True, "blur_sigma_px": 1.8},
    "narrow blur": {"blur": True, "blur_sigma_px": 0.6},
    "erasing": {"erase": True},
}
UNUSUAL = {
    "darker than black": {"brightness": -0.5},
    "contrast turned over": {"contrast": -0.5},
    "more than all colour": {"saturation": 4.0},
    "more than once round": {"hue": 1.3},
    "back more than twice round": {"hue": -2.2},
    "stains beyond all bounds": {"stain_alpha": (-3.0, 9.0, 40.0), "stain_beta": (5.0, -5.0, 90.0)},
    "elastic of twenty times the strength": {"elastic_alpha_px": 500.0},
    "elastic of bare noise": {"elastic_alpha_px": 5.0, "elastic_sigma_px": 0.0},
    "blur of nothing": {"blur": True, "blur_sigma_px": 0.0},
    "blur of all": {"blur": True, "blur_sigma_px": 30.0},
    "upside down": {"rotation_deg": 180.0},
    "strong noise": {"noise_sigma": 2.0},
}


@pytest.mark.parametrize("change", (STEPS | UNUSUAL).values(), ids=STEPS | UNUSUAL)
@pytest.mark.parametrize("side", [224, 300])
def test_each_step_at_the_crops_own_size_is_the_literal_one(neutral: Draws, tissue, side: int, change: dict) -> None:
    """Within a hundredth of a level, which is rounding; within a tenth where pixels move, or more where far."""
    crop, draws = tissue(side), replace(neutral, **change)
    limit = 0.1 * max(1, draws.elastic_alpha_px / 20) if change.keys() & {"rotation_deg", "elastic_alpha_px"} else 0.01
    assert away(augment(crop, draws, GREY), augment_literally(crop, draws, GREY)) < limit


@pytest.mark.parametrize("change", (STEPS | UNUSUAL).values(), ids=STEPS | UNUSUAL)
def test_each_step_of_a_tiny_crop_is_the_literal_one(neutral: Draws, tissue, change: dict) -> None:
    """Within a level; an elastic field is interpolated, and not beyond the middles of the outermost cells."""
    crop, draws = tissue(240)[40:45, 40:45], replace(neutral, **change)
    limit = 1 if draws.elastic_alpha_px < 20 else 5
    assert np.abs(augment(crop, draws, GREY).astype(int) - augment_literally(crop, draws, GREY)).max() <= limit


@pytest.mark.parametrize("change", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("side", SIDES)
def test_each_step_with_the_usual_geometry_is_close(neutral: Draws, tissue, side: int, change: dict) -> None:
    """Within two levels on finely grained tissue; what the steps do is ten times that."""
    crop = tissue(side)
    draws = replace(neutral, **({"rotation_deg": 8.0, "elastic_alpha_px": 25.0} | change))
    literal = smaller(augment_literally(crop, draws, GREY))
    assert away(literal, smaller(crop)) > 10
    assert away(fast(crop, draws), literal) < 2


@pytest.mark.parametrize("side", SIDES)
def test_all_steps_together_are_close_but_for_the_noise(tissue, side: int) -> None:
    crop, differences = tissue(side), []
    for repeat in range(1, 9):
        draws = usual(repeat, noise_sigma=(0, 0))
        differences.append(away(fast(crop, draws), smaller(augment_literally(crop, draws, GREY))))
    assert np.mean(differences) < 1.7
    assert max(differences) < 2.1


@pytest.mark.parametrize("side", SIDES)
def test_details_are_as_sharp(tissue, side: int) -> None:
    """What the working size is chosen for; without it details of a crop of 300 px would be half as strong again.

    No working size does it for a crop hardly larger than the result: one interpolation is sharper there than two.
    """
    crop, ratios = tissue(side), []
    for repeat in range(1, 5):
        draws = usual(repeat, noise_sigma=(0, 0), erase_probability=0)
        details = [
            cv2.Laplacian(each.astype(np.float32), cv2.CV_32F).std()
            for each in (fast(crop, draws), smaller(augment_literally(crop, draws, GREY)))
        ]
        ratios.append(details[0] / details[1])
    assert np.mean(ratios) == pytest.approx(1, abs=0.2 if side == 225 else 0.1)


@pytest.mark.parametrize("side", [*SIDES, 336, 2000])
def test_noise_is_as_strong_as_after_averaging(neutral: Draws, side: int) -> None:
    draws, flat = replace(neutral, noise_sigma=0.03), np.full((side, side, 3), 128, np.uint8)
    literal, ours = smaller(augment_literally(flat, draws, GREY)).astype(float), fast(flat, draws).astype(float)
    assert ours.std() == pytest.approx(literal.std(), rel=0.02)
    assert ours.mean() == pytest.approx(128, abs=0.05)


@pytest.mark.parametrize("side", [240, 301, 720])
@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
def test_flips_turn_about_the_middle_at_any_size(neutral: Draws, tissue, side: int, flips: tuple[bool, bool]) -> None:
    """A flipped crop, flipped back, is the crop: a centre that is half a pixel off would move it by one."""
    across, down = flips
    draws = replace(neutral, rotation_deg=5.0)
    turned = fast(np.ascontiguousarray(tissue(side)[:: -1 if down else 1, :: -1 if across else 1]), draws)
    itself = fast(tissue(side), replace(draws, flip_horizontal=across, flip_vertical=down))
    assert away(turned, itself) < 0.2


@pytest.mark.parametrize("side", [*SIDES, 301])
@pytest.mark.parametrize("flip", [False, True])
def test_nothing_is_moved_by_a_part_of_a_pixel(neutral: Draws, tissue, side: int, flip: bool) -> None:
    crop = tissue(side)
    moved = fast(crop, replace(neutral, rotation_deg=360.0, flip_horizontal=flip, flip_vertical=flip))
    expected = smaller(crop)[::-1, ::-1] if flip else smaller(crop)
    grey = [cv2.cvtColor(np.ascontiguousarray(each), cv2.COLOR_RGB2GRAY) for each in (moved, expected)]
    there, here = (np.float64(each) for each in grey)
    # OpenCV 5 finds a picture half a pixel away from itself.
    shift = np.subtract(cv2.phaseCorrelate(there, here)[0], cv2.phaseCorrelate(here, here)[0])
    assert np.abs(shift).max() < 0.03


@pytest.mark.parametrize("side", [225, 301, 720])
def test_what_comes_from_outside_is_the_fill_at_any_size(neutral: Draws, side: int) -> None:
    draws = replace(neutral, rotation_deg=15.0, elastic_alpha_px=25.0)
    working = bring_to_working_size(np.zeros((side, side, 3), np.uint8), SIZE)
    result = augment(working, draws, (0.2, 0.5, 1.0), side_px=side, size_px=SIZE)
    assert (result[[0, 0, -1, -1], [0, -1, 0, -1]] == (51, 128, 255)).all()
    assert (result[50:-50, 50:-50] == 0).all()


@pytest.mark.parametrize("side", [1, 2, 3, 50, 224, 225, 250, 5000])
def test_the_working_size_is_none_larger_than_the_crop(side: int) -> None:
    crop = np.zeros((side, side, 3), np.uint8)
    working = bring_to_working_size(crop, SIZE)
    assert min(side, SIZE) <= len(working) <= min(side, 1.74 * SIZE)
    assert augment(working, usual(1), GREY, side_px=side, size_px=min(side, SIZE)).shape[0] == min(side, SIZE)


@pytest.mark.parametrize(("side", "size"), [(99, 50), (100, 101), (100, 0), (100, -3), (0, 0)])
def test_sizes_larger_than_the_crop_are_refused(neutral: Draws, side: int, size: int) -> None:
    with pytest.raises(DataError, match="no larger sizes"):
        augment(np.zeros((100, 100, 3), np.uint8), neutral, GREY, side_px=side, size_px=size)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one @ other.T / np.outer(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))


@pytest.fixture(scope="module")
def repeats(real_crops) -> list[tuple[np.ndarray, list[Draws]]]:
    """Real crops, of 196 to 923 px, and what is drawn for four repeats of each."""
    crops = [crop for name in ("img_0000.png", "img_0006.png", "img_0012.png") for crop in real_crops(name)]
    return [(crop, [usual(repeat) for repeat in range(1, 5)]) for crop in crops]


def compare(repeats, embed, make, literal, clean) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines of our repeats with the literal ones: of the same repeat, of the crop's others, and of the clean crop."""
    same, others, cleans = [], [], []
    for crop, draws in repeats:
        ours, theirs = (embed([way(crop, each) for each in draws]) for way in (make, literal))
        table, itself = cosines(ours, theirs), np.eye(len(draws), dtype=bool)
        same.append(table[itself])
        others.append(table[~itself])
        cleans.append(cosines(embed([clean(crop)]), theirs)[0])
    return np.concatenate(same), np.concatenate(others), np.concatenate(cleans)


def test_a_vision_transformer_embeds_them_alike(repeats) -> None:
    """At 224 px cosines are 0.9999, of 300 at least 0.998; of other repeats of the crop 0.84, of the clean crop 0.93.

    Random weights: a trained model looks at less than all the pixels, not at more.
    """
    import torch
    from transformers import Dinov2Config, Dinov2Model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        model = Dinov2Model(Dinov2Config(image_size=SIZE, patch_size=16, **layers)).eval()

    def embed(crops: list[np.ndarray]) -> np.ndarray:
        pixels = torch.from_numpy(np.stack([Resize(SIZE)(crop) for crop in crops])).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            return model((pixels - 0.5) / 0.25).last_hidden_state[:, 0].double().numpy()

    same, others, clean = compare(
        repeats, embed, fast, lambda crop, draws: smaller(augment_literally(crop, draws, GREY)), smaller
    )
    assert same.min() > 0.997
    assert (1 - same).mean() < 0.01 * min((1 - others).mean(), (1 - clean).mean())


def test_stain_texture_embeds_them_alike(repeats) -> None:
    """At the crop's own size cosines are 0.98; those of other repeats of the crop are 0.44, and of the clean crop 0.61.

    Its numbers are distances from typical tissue, all near 0 for a few blobs, and such embeddings turn about easily.
    """
    pytest.importorskip("skimage")
    encode = load_encoder("stain-texture").encode
    same, others, clean = compare(
        repeats,
        encode,
        lambda crop, draws: augment(crop, draws, GREY),
        lambda crop, draws: augment_literally(crop, draws, GREY),
        lambda crop: crop,
    )
    assert np.median(same) > 0.99
    assert same.mean() > 0.96
    assert max(others.mean(), clean.mean()) < 0.7
