"""Commands run in this process, on a copy of a part of the sample."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from featstore.extract import run
from featstore_cli.app import app

SAMPLE = Path(__file__).resolve().parents[2] / "data"
PAINTED = ((225, 130, 170), (110, 80, 160))


@pytest.fixture
def deafened() -> Iterator[None]:
    """Let a command be interrupted in this process: it goes deaf then, and so would all that later tests start."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def featstore() -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def featstore_json(featstore) -> Callable[..., dict[str, Any]]:
    def run(*arguments: object) -> dict[str, Any]:
        result = featstore(*arguments, "--json")
        assert result.exit_code == 0, result.output
        value: dict[str, Any] = json.loads(result.stdout)
        return value

    return run


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    """A third of the sample's images: 30 for training, 8 for testing, some of them contaminated."""
    root = tmp_path_factory.mktemp("small") / "data"
    for split, count in (("train_data", 30), ("test_data", 8)):
        (root / split).mkdir(parents=True)
        for number in range(count):
            for kind in ("img", "mask"):
                shutil.copy(SAMPLE / split / f"{kind}_{number:04d}.png", root / split)
    lines = (SAMPLE / "train_labels.csv").read_text().splitlines()
    (root / "train_labels.csv").write_text("\n".join(lines[:31]) + "\n")
    return root


@pytest.fixture(scope="session")
def work(small_data, featstore_json, tmp_path_factory) -> Path:
    """A folder with a store of the small data and a three-fold model fitted on it."""
    folder = tmp_path_factory.mktemp("work")
    store = folder / "s.store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "COMMIT_SECONDS", 3600.0)  # one version, however busy the machine is
        featstore_json("extract", small_data, "--store", store, "--encoder", "stain-texture", "--repeats", 1)
    featstore_json("fit", store, "--model", folder / "m.model", "--folds", 3, "--jobs", 2)
    return folder


@pytest.fixture(scope="session")
def painted(tmp_path_factory) -> Path:
    """Write 24 training images of two colours, three of them not to be used, and 3 test images, one damaged."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = ["sample_index,label"]
    for split, count in (("train", 24), ("test", 3)):
        folder = root / f"{split}_data"
        folder.mkdir()
        for number in range(count):
            image = np.array(PAINTED[number % 2]) + rng.normal(0, 12, (40, 48, 3))
            if split == "train" and number == 5:
                image = np.array((40, 200, 60)) + rng.normal(0, 12, (40, 48, 3))
            mask = np.zeros((40, 48), np.uint8)
            mask[4:36, 4 : 10 + number] = 255
            cv2.imwrite(str(folder / f"img_{number:04d}.png"), np.clip(image, 0, 255).astype(np.uint8)[..., ::-1])
            cv2.imwrite(str(folder / f"mask_{number:04d}.png"), mask)
            if split == "train" and number != 7:
                lines.append(f"img_{number:04d}.png,{'AB'[number % 2]}")
    for broken in ("train_data/img_0009.png", "test_data/img_0001.png"):
        (root / broken).write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    (root / "train_labels.csv").write_text("\n".join(lines) + "\n")
    return root
