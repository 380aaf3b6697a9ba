"""The sample is what its README promises, and its script makes it."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from featstore.dataset import colour_shares, contamination, find_dataset, read_image, read_mask

MAX_BYTES = 6_000_000
FEWEST = {"train": 80, "test": 24}
CONTAMINATED = ("texture", "slime")


def labels_of(sample: Path, split: str) -> dict[str, str]:
    with (sample / f"{split}_labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["sample_index"]: row["label"] for row in rows}


def specials(maker: ModuleType, *kinds: str) -> list[Any]:
    return [plan for plan in maker.plan_sample() if plan.special in kinds]


def shares_of(sample: Path, plan: Any) -> Any:
    image = read_image(sample / plan.folder / plan.image_name)
    mask = read_mask(sample / plan.folder / plan.mask_name, shape=image.shape[:2])
    return colour_shares(image, mask > 0 if mask.any() else np.ones(mask.shape, bool))


@pytest.mark.parametrize("split", ["train", "test"])
def test_folders_and_labels_agree(sample: Path, split: str) -> None:
    images = sorted(path.name for path in (sample / f"{split}_data").glob("img_*.png"))
    masks = sorted(path.name for path in (sample / f"{split}_data").glob("mask_*.png"))
    assert images == [f"img_{index:04d}.png" for index in range(len(images))]
    assert masks == [name.replace("img", "mask") for name in images]
    assert len(images) >= FEWEST[split]
    assert list(labels_of(sample, split)) == images


def test_classes_are_unequal_and_enough_for_ten_folds(sample: Path, maker: ModuleType) -> None:
    labels = labels_of(sample, "train")
    dirty = {plan.image_name for plan in specials(maker, *CONTAMINATED)}
    clean = Counter(label for name, label in labels.items() if name not in dirty)
    assert set(clean) == {"Luminal A", "Luminal B", "HER2(+)", "Triple negative"} == set(maker.CLASSES)
    assert min(clean.values()) >= 10
    assert Counter(labels.values()).most_common()[-1][0] == "Triple negative"
    assert set(labels_of(sample, "test").values()) == set(clean)


def test_it_is_small(sample: Path) -> None:
    assert sum(path.stat().st_size for path in sample.rglob("*") if path.suffix in {".png", ".csv"}) <= MAX_BYTES


def test_the_dataset_room_reads_it(sample: Path) -> None:
    dataset = find_dataset(sample)
    assert dataset.layout == "challenge"
    assert not dataset.warnings
    assert Counter(record.split for record in dataset.records) == {"train": 92, "test": 24}
    assert not any(record.reason for record in dataset.records)


def test_masks_are_sparse_and_of_their_images_size(sample: Path, maker: ModuleType) -> None:
    for plan in maker.plan_sample():
        image = read_image(sample / plan.folder / plan.image_name)
        mask = cv2.imread(str(sample / plan.folder / plan.mask_name), cv2.IMREAD_UNCHANGED)
        assert mask.shape == image.shape[:2]
        assert min(mask.shape) == maker.SHORT_SIDE_PX
        assert set(np.unique(mask)) == ({0} if plan.special == "empty" else {0, 255})
        if not plan.special:
            assert 1 <= cv2.connectedComponents(mask, connectivity=8)[0] - 1 <= 6
            tissue = image.min(axis=2) < 225
            assert 0.1 <= (mask > 0).sum() / tissue.sum() <= 0.45


def test_the_colour_filter_finds_the_contaminated_and_nothing_else(sample: Path, maker: ModuleType) -> None:
    found = {plan: contamination(shares_of(sample, plan)) for plan in maker.plan_sample()}
    assert {plan for plan, reason in found.items() if reason} == set(specials(maker, *CONTAMINATED))
    assert all(plan.split == "train" for plan, reason in found.items() if reason)
    assert 3 <= len(specials(maker, "texture")) <= 4
    assert 3 <= len(specials(maker, "slime")) <= 4


def test_its_margins_are_wide(sample: Path, maker: ModuleType) -> None:
    for plan in maker.plan_sample():
        shares = shares_of(sample, plan)
        odd = shares.green + shares.brown + shares.yellow
        assert odd > 0.35 if plan.special in CONTAMINATED else odd < 0.005


def test_slime_is_in_the_mask(sample: Path, maker: ModuleType) -> None:
    for plan in specials(maker, "slime"):
        red, green, blue = np.moveaxis(read_image(sample / plan.folder / plan.image_name).astype(int), 2, 0)
        slime = (green > red + 60) & (green > blue + 60)
        mask = read_mask(sample / plan.folder / plan.mask_name, shape=slime.shape)
        assert slime.sum() > 3000
        assert (mask[slime] > 0).mean() > 0.99


def test_two_pairs_of_twins(sample: Path, maker: ModuleType) -> None:
    names_of = defaultdict(list)
    for path in sorted(sample.glob("*_data/mask_*.png")):
        names_of[path.read_bytes()].append(path.name.replace("mask", "img"))
    pairs = [tuple(names) for names in names_of.values() if len(names) > 1]
    labels = labels_of(sample, "train")
    alike = {plan.image_name for plan in specials(maker, "twins_alike")}
    unlike = {plan.image_name for plan in specials(maker, "twins_unlike")}
    assert sorted(map(set, pairs), key=min) == sorted([alike, unlike], key=min)
    assert len({labels[name] for name in alike}) == 1
    assert len({labels[name] for name in unlike}) == 2
    for first, second in pairs:
        assert (sample / "train_data" / first).read_bytes() != (sample / "train_data" / second).read_bytes()


def test_the_readme_names_every_special_image(sample: Path, maker: ModuleType) -> None:
    text = (sample / "README.md").read_text(encoding="utf-8")
    assert "synthetic" in text
    named = {plan.image_name for plan in maker.plan_sample() if plan.special}
    assert named == {f"img_{word[:4]}.png" for word in text.split("`img_")[1:] if word[:4].isdigit()}


@pytest.mark.parametrize("kind", ["", "slime", "texture", "twins_unlike"])
def test_the_script_makes_what_is_shipped(sample: Path, maker: ModuleType, kind: str) -> None:
    plan = specials(maker, kind)[-1]
    image, mask = maker.draw_image(plan)
    shipped = read_image(sample / plan.folder / plan.image_name).astype(int)
    assert image.shape == shipped.shape
    # Other versions of the libraries may round a few pixels otherwise, and so move a nucleus.
    assert (np.abs(image - shipped) > 20).mean() < 0.02
    assert (mask != read_mask(sample / plan.folder / plan.mask_name, shape=mask.shape)).mean() < 0.005


def test_an_image_depends_on_nothing_but_its_plan(maker: ModuleType) -> None:
    first, other = maker.plan_sample()[:2]
    alone, _ = maker.draw_image(first)
    maker.draw_image(other)
    np.testing.assert_array_equal(maker.draw_image(first)[0], alone)


def test_written_bytes_hold_the_pixels(maker: ModuleType, tmp_path: Path) -> None:
    wanted = 4
    written = [plan for _, plan in zip(range(wanted), maker.write_sample(tmp_path), strict=False)]
    assert len(written) == wanted
    for plan in written:
        image, mask = maker.draw_image(plan)
        np.testing.assert_array_equal(read_image(tmp_path / plan.folder / plan.image_name), image)
        np.testing.assert_array_equal(read_mask(tmp_path / plan.folder / plan.mask_name, shape=mask.shape), mask)


def test_the_command_explains_itself(sample: Path) -> None:
    command = [sys.executable, str(sample / "make_sample.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--out" in done.stdout
