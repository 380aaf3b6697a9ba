from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from featstore.dataset import (
    ArtefactLimits,
    artefacts_note,
    colour_shares,
    contaminant,
    enough_remains,
    find_artefacts,
    read_image,
    read_mask,
    subtract_artefacts,
)
from featstore.dataset.artefact_check import KINDS
from tests.benchmarks.artefacts import as_what, fields, found, overlap, paintings, triggered

GLASS, EOSIN, NUCLEUS = (243, 243, 243), (215, 130, 175), (95, 60, 130)
INK = {"green": (76, 173, 157), "blue": (30, 75, 195), "red": (204, 40, 65), "black": (24, 20, 14)}


@pytest.fixture(scope="module")
def real_fields(real):
    return fields(real / "he1024")


def measures(artefacts):
    return {artefact.kind: artefact.measure for artefact in artefacts}


@pytest.fixture
def drawn():
    """Draw tissue on glass: eosin with nuclei."""
    rng = np.random.default_rng(3)
    image = np.full((512, 640, 3), GLASS, np.uint8)
    cv2.ellipse(image, (300, 280), (240, 170), 10, 0, 360, EOSIN, -1)
    for x, y in rng.uniform((120, 160), (480, 400), (400, 2)):
        cv2.circle(image, (int(x), int(y)), 4, NUCLEUS, -1)
    noise = rng.normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def with_line(image, colour, ends=((40, 60), (600, 130)), width=24):
    line = np.zeros(image.shape[:2], np.uint8)
    cv2.line(line, *ends, 255, width)
    return np.where(line[..., None] > 0, np.uint8(colour), image), line > 0


def test_kinds_come_in_order_and_nothing_is_over_on_a_drawing(drawn):
    artefacts = find_artefacts(drawn)
    assert tuple(artefact.kind for artefact in artefacts) == KINDS
    assert found(artefacts) == set()
    assert artefacts_note(artefacts) == ""


@pytest.mark.parametrize("ink", INK)
def test_each_ink_is_found_as_itself_where_it_lies_and_changes_no_other_measure(drawn, ink):
    inked, line = with_line(drawn, INK[ink])
    artefacts = find_artefacts(inked)
    assert found(artefacts) - {"green"} == {f"ink_{ink}"}
    precision, recall, _ = overlap(triggered(artefacts, [f"ink_{ink}"], line.shape), line)
    assert precision > 0.9
    assert recall > 0.95
    before, after = measures(find_artefacts(drawn)), measures(artefacts)
    for kind in set(KINDS) - {f"ink_{ink}", "green"}:
        assert after[kind] == pytest.approx(before[kind], rel=0.15, abs=0.01)


@pytest.mark.parametrize("ink", INK)
@pytest.mark.parametrize("turned", [np.fliplr, np.flipud, np.transpose, np.rot90])
def test_orientation_does_not_matter(drawn, ink, turned):
    inked, _ = with_line(drawn, INK[ink])

    def turn(array):
        return np.swapaxes(array, 0, 1) if turned is np.transpose else turned(array)

    upright, lying = find_artefacts(inked), find_artefacts(turn(inked))
    assert found(upright) == found(lying)
    pixels = triggered(upright, [f"ink_{ink}"], inked.shape[:2])
    same = triggered(lying, [f"ink_{ink}"], turn(inked).shape[:2])
    assert overlap(turn(pixels), same)[2] > 0.98


@pytest.mark.parametrize("scale", [0.5, 2, 3])
def test_ink_is_found_at_any_resolution(drawn, scale):
    inked, _ = with_line(drawn, INK["red"])
    size = (round(640 * scale), round(512 * scale))
    other = find_artefacts(cv2.resize(inked, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
    assert "ink_red" in found(other)
    assert measures(other)["ink_red"] == pytest.approx(measures(find_artefacts(inked))["ink_red"], rel=0.15)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 900), (700, 4), (1023, 1401)])
def test_sizes_that_divide_by_nothing(shape):
    rng = np.random.default_rng(1)
    for image in (np.zeros((*shape, 3), np.uint8), rng.integers(0, 256, (*shape, 3), np.uint8)):
        for artefact in find_artefacts(image, np.ones(shape, np.uint8)):
            assert artefact.pixels is None or artefact.pixels.shape == shape
            assert np.isfinite(artefact.measure)


@pytest.mark.parametrize("colour", [GLASS, EOSIN, NUCLEUS, (0, 0, 0), (255, 255, 255)])
def test_an_image_of_one_colour_is_blank_and_says_so(colour):
    artefacts = find_artefacts(np.full((300, 400, 3), colour, np.uint8))
    assert "blank" in found(artefacts)
    assert "blur" not in measures(artefacts)
    assert "blank: 0.00% of the image is tissue" in artefacts_note(artefacts)


def test_the_padding_of_scanners_is_no_ink(drawn):
    padded = drawn.copy()
    padded[:90], padded[:, 560:] = 0, (2, 3, 2)
    assert "ink_black" not in found(find_artefacts(padded))
    stroke, _ = with_line(padded, INK["black"], ((40, 480), (500, 400)))
    assert "ink_black" in found(find_artefacts(stroke))


def test_brown_dye_and_dense_nuclei_are_no_ink(drawn):
    for colour in ((110, 70, 30), (150, 95, 45), NUCLEUS, (60, 35, 85), (150, 30, 60)):
        patched, _ = with_line(drawn, colour, width=40)
        assert not {kind for kind in found(find_artefacts(patched)) if kind.startswith("ink")}, colour


def test_specks_of_dye_are_no_stroke(drawn):
    specked = drawn.copy()
    for x, y in np.random.default_rng(5).integers(20, 500, (60, 2)):
        cv2.circle(specked, (int(x), int(y)), 3, INK["green"], -1)
    assert "ink_green" not in found(find_artefacts(specked))


def test_limits_rule(drawn):
    inked, _ = with_line(drawn, INK["blue"])
    lax = replace(ArtefactLimits(), ink=replace(ArtefactLimits().ink, share=0.5))
    artefacts = {artefact.kind: artefact for artefact in find_artefacts(inked, limits=lax)}
    assert not artefacts["ink_blue"].over
    assert artefacts["ink_blue"].limit == 0.5
    assert artefacts["ink_blue"].note.startswith("blue ink covers ")


def test_subtraction_takes_ink_and_its_rim_and_nothing_where_there_is_none(drawn):
    tissue = drawn.min(axis=2) < 200
    inked, line = with_line(drawn, INK["black"], ((60, 280), (600, 300)))
    rest = subtract_artefacts(tissue, find_artefacts(inked))
    assert not (rest & line).any()
    assert not (rest & ~tissue).any()
    far = cv2.dilate(line.view(np.uint8), np.ones((25, 25), np.uint8)) == 0
    assert (rest | ~far == tissue | ~far).all()
    assert enough_remains(tissue, rest)
    assert (subtract_artefacts(tissue, find_artefacts(drawn)) == tissue).all()


def test_what_is_enough():
    whole, small = np.ones((100, 100), bool), np.zeros((100, 100), bool)
    small[:20, :20] = True
    assert enough_remains(whole, whole)
    assert enough_remains(small, small)
    assert not enough_remains(whole, small)
    assert not enough_remains(small, np.zeros_like(small))
    assert not enough_remains(np.zeros_like(small), np.zeros_like(small))


def test_no_real_field_is_refused_under_any_lamp(real_fields):
    for name, image, mask in real_fields:
        artefacts = find_artefacts(image, mask)
        assert artefacts_note(artefacts) == "", name
        shares = colour_shares(image, mask)
        assert [artefact.measure for artefact in artefacts[:3]] == [shares.green, shares.brown, shares.yellow]
    for _, image, mask in real_fields[::3]:
        for cast in ((1, 0.97, 0.85), (0.85, 0.97, 1), (0.9, 1, 0.9), (1, 0.9, 0.95), (1, 0.93, 0.75)):
            tinted = np.clip(image * np.array(cast), 0, 255).astype(np.uint8)
            assert artefacts_note(find_artefacts(tinted, mask)) == "", cast


def test_no_nucleus_image_is_refused(real):
    for folder in ("train_data", "test_data"):
        for name, image, mask in fields(real / "dsb2018" / folder):
            assert artefacts_note(find_artefacts(image, mask)) == "", name


def test_blur_is_found_from_three_pixels_on(real_fields):
    for _, image, mask in real_fields[::2]:
        for sigma, over in ((0.5, False), (1, False), (3, True), (5, True)):
            blurred = cv2.GaussianBlur(image, (0, 0), sigma)
            assert ("blur" in found(find_artefacts(blurred, mask))) == over


@pytest.mark.parametrize(
    ("colour", "precision", "recall"), [("green", 0.9, 0.85), ("red", 0.72, 0.75), ("black", 0.93, 0.98)]
)
def test_real_ink_is_found_pixel_by_pixel(real, colour, precision, recall):
    image = read_image(real / f"pen/pen_{colour}.png")
    truth = read_mask(real / f"pen/pen_{colour}_mask.png", shape=image.shape[:2]) > 127
    artefacts = find_artefacts(image)
    assert {kind for kind in found(artefacts) if kind.startswith("ink")} == {f"ink_{colour}"}
    measured = overlap(triggered(artefacts, [f"ink_{colour}"], truth.shape), truth)
    assert measured[0] > precision
    assert measured[1] > recall


def test_tiles_of_another_slide(real):
    for path in (real / "pen").glob("*level*.png"):
        inks = {kind for kind in found(find_artefacts(read_image(path))) if kind.startswith("ink")}
        assert ("ink_green" in inks) == ("green-pen" in path.name)


def test_painted_artefacts_are_found(real_fields):
    seen, right, overlaps = 0, 0, []
    for painting in paintings(real_fields, 42, 11):
        artefacts = find_artefacts(painting.image, painting.mask)
        over, kinds = found(artefacts), as_what(painting.kind)
        seen, right = seen + bool(over), right + bool(over & set(kinds))
        if over & set(kinds) and painting.kind != "skin":
            overlaps.append(overlap(triggered(artefacts, kinds, painting.mask.shape), painting.painted)[2])
        if painting.kind == "blob":
            rest = subtract_artefacts(painting.mask, artefacts)
            assert (rest & painting.painted).sum() < 0.1 * painting.painted.sum()
    assert seen >= 0.95 * 42
    assert right >= 0.9 * 42
    assert np.median(overlaps) > 0.75


def test_what_is_grey_all_over_is_not_under_black_ink(drawn):
    """Nor is what shines on a dark ground."""
    grey = np.dstack([drawn.mean(axis=2).astype(np.uint8) // 3] * 3)
    for image in (grey, 255 - grey):
        artefacts = find_artefacts(image, np.ones(image.shape[:2], np.uint8))
        assert not {kind for kind in found(artefacts) if kind.startswith("ink")}
        assert contaminant(artefacts, np.ones(image.shape[:2], np.uint8)) == (None, "")
