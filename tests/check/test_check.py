"""A dataset with one of each: what can't be used, what is suspect, what belongs together."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from featstore.check import check_dataset, examine
from featstore.check import image as image_room
from featstore.check.image import look_at
from featstore.dataset import find_dataset
from featstore.recipe import CropSettings

HEIGHT, WIDTH = 200, 260


def field(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pink tissue with violet islands, and a mask of these."""
    rng = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 9)
    mask = rough > np.quantile(rough, 0.75)
    fine = cv2.GaussianBlur(rng.normal(0, 40, (HEIGHT, WIDTH, 1)).astype(np.float32), (0, 0), 1)[..., None]
    image = np.where(mask[..., None], (120, 85, 150), (225, 150, 195)) + fine
    return np.clip(image, 0, 255).astype(np.uint8), mask.astype(np.uint8) * 255


def write(path: Path, pixels: np.ndarray) -> None:
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("check") / "data"
    for split, count in (("train_data", 14), ("test_data", 3)):
        (root / split).mkdir(parents=True)
        for number in range(count):
            image, mask = field(number + (100 if split == "test_data" else 0))
            write(root / split / f"img_{number:04d}.png", image)
            write(root / split / f"mask_{number:04d}.png", mask)
    train, test = root / "train_data", root / "test_data"
    (train / "img_0001.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    image = field(2)[0]
    cv2.circle(image, (130, 100), 60, (40, 200, 60), -1)
    write(train / "img_0002.png", image)
    shutil.copy(train / "img_0003.png", train / "img_0004.png")  # twins by file, labelled otherwise
    mirrored = cv2.imdecode(cv2.imencode(".jpg", field(5)[0], [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)[:, ::-1]
    write(test / "img_0000.png", mirrored)  # a training image is tested
    write(test / "mask_0000.png", field(5)[1][:, ::-1])
    shutil.copy(train / "mask_0006.png", train / "mask_0007.png")
    write(train / "mask_0008.png", 255 - field(8)[1])
    write(train / "mask_0009.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    lines = [f"img_{number:04d}.png,{'AB'[number % 2]}" for number in range(13)]
    (root / "train_labels.csv").write_text("\n".join(["sample_index,label", *lines]) + "\n")
    return root


@pytest.fixture(scope="module")
def found(data):
    return check_dataset(find_dataset(data), jobs=2)


def kinds(found, image: str) -> set[str]:
    return {row["kind"] for row in found.suspects if row["image"] == image}


def test_what_an_extraction_leaves_out(found) -> None:
    assert {row["image"]: row["reason"] for row in found.rejected} == {
        "train_data/img_0001.png": "unreadable",
        "train_data/img_0002.png": "contaminated_green",
        "train_data/img_0013.png": "no_label",
    }


def test_what_is_suspect_and_that_nothing_else_is(found) -> None:
    assert "green" in kinds(found, "train_data/img_0002.png")
    assert kinds(found, "train_data/img_0008.png") == {"mask_inverted"}
    assert kinds(found, "train_data/img_0007.png") & {"mask_unrelated", "mask_misplaced"}
    assert kinds(found, "train_data/img_0009.png") == {"mask_empty"}
    assert kinds(found, "train_data/img_0004.png") == {"mask_unrelated"}  # the image was replaced, its mask was not
    told = {f"train_data/img_000{number}.png" for number in (2, 4, 7, 8, 9)}
    assert {row["image"] for row in found.suspects} == told


def test_twins_and_what_they_mean(found) -> None:
    twins = {(each.by, each.images): each for each in found.twins}
    assert set(twins) == {
        ("file", ("train_data/img_0003.png", "train_data/img_0004.png")),
        ("look", ("train_data/img_0005.png", "test_data/img_0000.png")),
        ("mask", ("train_data/img_0006.png", "train_data/img_0007.png")),
    }
    by = {each.by: each for each in found.twins}
    assert by["file"].conflicting
    assert by["mask"].labels == ("A", "B")
    assert not by["look"].conflicting
    assert by["look"].overlapping
    assert not by["file"].overlapping


def test_what_is_wrong_with_a_mask_is_said_in_words_and_what_to_do(found) -> None:
    why = {(row["image"], row["kind"]): row["why"] for row in found.suspects}
    inverted = why["train_data/img_0008.png", "mask_inverted"]
    assert inverted.startswith("it marks what is pale (score 0.")
    assert inverted.endswith("; --masks given takes it as it is")
    assert why["train_data/img_0009.png", "mask_empty"] == "it marks next to nothing (score 0.00)"
    assert "another image's?" in why["train_data/img_0004.png", "mask_unrelated"]


def test_sizes_modes_and_resolution_are_counted(found) -> None:
    assert found.modes == {("RGB", 8): 16}  # the one that is cut short has no such head
    assert found.resolutions == []
    told = found.to_dict()
    assert told["modes"] == [{"mode": "RGB", "bits": 8, "images": 16}]
    assert told["mpp"] is None
    assert told["images"][0]["mode"] == "RGB"
    assert told["images"][0]["bits"] == 8


def test_labels_and_imbalance(found) -> None:
    assert found.labels == {
        "": {"train": 1, "test": 3},
        "A": {"train": 7, "test": 0},
        "B": {"train": 6, "test": 0},
    }
    assert found.imbalance == pytest.approx(7 / 6)


def test_the_steps_of_the_ladder_are_told(found) -> None:
    sources = {each.record.image: each.source for each in found.images}
    assert sources["train_data/img_0000.png"] == "mask"
    assert sources["train_data/img_0008.png"] == sources["train_data/img_0009.png"] == "tissue"
    assert found.sources == {"mask": 14, "tissue": 2}


def test_processes_change_nothing(data, found) -> None:
    assert check_dataset(find_dataset(data), jobs=1).to_dict() == found.to_dict()


def test_limits_are_taken(data) -> None:
    record = find_dataset(data).records[8]
    as_given = examine(record, CropSettings(masks="given"))
    assert as_given.source == "mask"
    assert as_given.mask is None


def test_a_blank_image_has_no_blob() -> None:
    opened = look_at(np.full((60, 60, 3), 250, np.uint8), None, CropSettings())
    assert opened.blobs is None
    assert "blank" in {each.kind for each in opened.artefacts if each.over}


@pytest.mark.parametrize("error", [MemoryError("no room"), cv2.error("bad"), ZeroDivisionError("of nothing")])
def test_an_unforeseen_error_costs_one_image_and_is_on_its_row(data, monkeypatch, error: Exception) -> None:
    opened = image_room.look_at
    calls = iter(range(100))

    def break_at_the_third(*arguments):
        if next(calls) == 2:
            raise error
        return opened(*arguments)

    monkeypatch.setattr(image_room, "look_at", break_at_the_third)
    found = check_dataset(find_dataset(data), jobs=1)
    failed = [each for each in found.images if each.reason == "failed"]
    assert len(failed) == 1
    assert failed[0].note.startswith(f"{type(error).__name__ if not isinstance(error, cv2.error) else 'error'}: ")
    assert failed[0].width_px == WIDTH  # what was known before it stays known
    assert len(found.images) == 17


def test_notes_name_files_without_their_folders(data, found) -> None:
    assert all(str(data) not in row["note"] for row in found.rejected)
    assert "img_0001.png" in found.rejected[0]["note"]


def test_an_image_without_tissue_is_told_as_such(tmp_path) -> None:
    image = np.full((200, 200, 3), 230, np.uint8)
    image[:, 100:] = 195
    write(tmp_path / "img_0000.png", image)
    (record,) = find_dataset(tmp_path).records
    assert examine(record).suspect["whole_image"].startswith("no tissue was found")


def listed(folder: Path, rows: list[str]) -> Path:
    for number in range(len(rows)):
        write(folder / f"{number}.png", field(number)[0])
    lines = [f"{number}.png,{row}" for number, row in enumerate(rows)]
    (folder / "all.csv").write_text("\n".join(["image,label,split,group,mpp", *lines]) + "\n")
    return folder / "all.csv"


def test_a_group_is_told_where_it_is_trained_on_and_tested(tmp_path) -> None:
    rows = ["A,train,P1,0.25", "B,train,P1,0.5", "A,train,P2,", "A,test,P2,0.5", "B,test,P3,", "A,train,,", "A,test,,"]
    found = check_dataset(find_dataset(listed(tmp_path, rows)), jobs=1)
    (patient,) = found.twins
    assert (patient.by, patient.group, patient.images) == ("group", "P2", ("2.png", "3.png"))
    assert patient.overlapping
    assert found.to_dict()["twins"][0]["group"] == "P2"
    assert found.resolutions == [0.25, 0.5, 0.5]
    assert found.to_dict()["mpp"] == [0.25, 0.5]


def test_labels_of_a_group_are_no_conflict(tmp_path) -> None:
    found = check_dataset(find_dataset(listed(tmp_path, ["A,train,P1,", "B,test,P1,"])), jobs=1)
    assert [twins.conflicting for twins in found.twins] == [False]


def test_progress_counts_to_the_end(data) -> None:
    seen = []
    check_dataset(find_dataset(data), jobs=1, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(number, 17) for number in range(1, 18)]
