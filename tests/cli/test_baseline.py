"""``featstore baseline``: the command from start to end, and what stops it."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from featstore.cnn.checkpoints import FORMAT
from featstore_cli import baseline
from featstore_cli.app import app

QUICK = ("--from-scratch", "--image-size", "32", "--batch-size", "8", "--device", "cpu")


@pytest.fixture(scope="module")
def data(painted):
    return painted


def run(*arguments):
    return CliRunner().invoke(app, ["baseline", *map(str, arguments)])


@pytest.fixture
def small(monkeypatch):
    """Let the presets be quick: a network of timm's that is made for tests."""
    from featstore.cnn import presets

    bare = presets.ImageClassifier

    def quick(name, **settings):
        return bare("test_efficientnet.r160_in1k", **settings)

    monkeypatch.setattr(presets, "ImageClassifier", quick)


@pytest.mark.parametrize(("system", "folds"), [("m1", 1), ("m2", 2), ("m3", 2)])
def test_from_images_to_model_and_predictions(data, tmp_path, small, system, folds):
    model, out = tmp_path / "x.model", tmp_path / "p.csv"
    how = ("--epochs", "2", "--folds", folds, "--model", model, "--out", out, "--json", *QUICK)
    result = run(system, data, *how)
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["system"] == system
    assert content["images"] == 21
    assert {row["image"]: row["reason"].partition(":")[0] for row in content["rejected"]} == {
        "train_data/img_0005.png": "contaminated",
        "train_data/img_0007.png": "no_label",
        "train_data/img_0009.png": "unreadable",
        "test_data/img_0001.png": "unreadable",
    }
    assert len(content["folds"]) == folds
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["sample_index"] for row in rows] == ["img_0000.png", "img_0001.png", "img_0002.png"]
    assert rows[1]["note"].startswith("class prior only (unreadable")
    assert float(rows[0]["prob_A"]) + float(rows[0]["prob_B"]) == pytest.approx(1, abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "x.model"]
    refused = CliRunner().invoke(app, ["predict", str(model), str(data), "--out", str(tmp_path / "q.csv")])
    assert refused.exit_code == 1
    assert "holds fine-tuned networks" in refused.stderr
    again = run(system, data, *how[:-6], "--json", "--model", tmp_path / "y.model", *QUICK)
    assert again.exit_code == 0
    assert (tmp_path / "y.model").read_bytes() == model.read_bytes()


def test_for_people(data, tmp_path, small):
    result = run("m2", data, "--epochs", "1", "--folds", "2", "--model", tmp_path / "x.model", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "from scratch, pictures of 32 px" in result.stdout
    assert "21 training images, 4 left out" in result.stdout
    assert "train_labels.csv" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("m4",), 2, "m4"),
        (("m2", "--device", "tpu"), 1, "device is 'tpu'"),
        (("m2", "--image-size", "20"), 2, "32"),
        (("m2", "--weights", "nowhere"), 1, "nowhere is no folder"),
        (("m2", "--folds", "12", "--from-scratch", "--image-size", "32"), 1, "--folds 9"),
        (("m2", "--precision", "float8"), 1, "precision is 'float8'"),
    ],
)
def test_one_message_for_what_can_not_be(data, tmp_path, small, arguments, code, said):
    result = run(*arguments[:1], data, *arguments[1:], "--model", tmp_path / "x.model")
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x.model").exists()


def test_no_labelled_image(tmp_path, small):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 40, 3), 200, np.uint8))
    result = run("m1", tmp_path, "--model", tmp_path.parent / "x.model", *QUICK)
    assert result.exit_code == 1
    assert "no training image" in result.stderr


def test_a_model_among_the_data_is_refused(data, small):
    result = run("m1", data, "--model", data / "x.model", *QUICK)
    assert result.exit_code == 2


def test_the_wrong_checkpoints(data, tmp_path, small):
    how = ("--folds", "2", "--model", tmp_path / "x.model", "--checkpoints", tmp_path / "c", *QUICK)
    assert run("m2", data, "--epochs", "1", *how).exit_code == 0
    assert len(list((tmp_path / "c").iterdir())) == 2
    result = run("m2", data, "--epochs", "2", *how)
    assert result.exit_code == 1
    assert "max_epochs: 1 there, 2 now" in result.stderr


SLOW = """
import sys
import featstore.cnn.presets as presets
import featstore.cnn.training as training

training._WRITING_SHARE = float("inf")  # a checkpoint after every epoch, however slow the disk

bare = presets.ImageClassifier
presets.ImageClassifier = lambda name, **settings: bare("test_efficientnet.r160_in1k", **settings)
from featstore_cli.app import app
app()
"""


def start(*arguments):
    command = [sys.executable, "-c", SLOW, "baseline", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def after_epochs(process, folder, wanted):
    """Wait until the checkpoints hold so many epochs."""
    deadline = time.monotonic() + 300
    while epochs_in(folder) < wanted:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def epochs_in(folder):
    """Count the epochs of all folds that the checkpoints hold."""
    found = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            found += len(json.loads(file.metadata()[FORMAT])["state"]["history"])
    return found


def test_killed_at_random_moments_and_run_again_it_ends_the_same(data, tmp_path):
    """Moments are counted in epochs, so that all are within the training, however slow the machine is.

    They lie in the first three quarters of it, in both folds, each with at least one more epoch than the one before.
    """
    kills, epochs = (10, 80) if os.environ.get("FAULTS") == "long" else (2, 16)
    how = ("m3", data, "--folds", "2", "--epochs", epochs, "--patience", epochs, "--json", *QUICK)
    whole = start(*how, "--model", tmp_path / "whole.model")
    out, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, err
    moments, model = random.Random(1), tmp_path / "killed.model"
    folder = tmp_path / "killed.model.checkpoints"
    for epoch in sorted(moments.sample(range(1, 3 * epochs // 2), kills)):
        process = start(*how, "--model", model)
        after_epochs(process, folder, max(epoch, epochs_in(folder) + 1))
        time.sleep(moments.uniform(0, 0.05))  # somewhere within an epoch
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert not model.exists()
    last = start(*how, "--model", model)
    told, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert json.loads(told)["folds"] == json.loads(out)["folds"]
    assert model.read_bytes() == (tmp_path / "whole.model").read_bytes()
    assert not folder.exists()


def test_ctrl_c_says_how_to_go_on(data, tmp_path):
    model = tmp_path / "x.model"
    process = start("m2", data, "--folds", "2", "--epochs", "200", "--patience", "200", *QUICK, "--model", model)
    folder = tmp_path / "x.model.checkpoints"
    after_epochs(process, folder, 1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert f"The last checkpoint is in {folder}. Run the same command again to go on." in err
    assert "Traceback" not in err
    assert not model.exists()


def test_checkpoints_of_others_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    for name in ("n-1-fold-1.safetensors", ".tmp-0123456789abcdef"):  # the second of one that was killed as it wrote
        (tmp_path / name).write_text("")
    baseline.remove_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    baseline.remove_checkpoints(tmp_path / "nowhere")
