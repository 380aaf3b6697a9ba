"""``make gpu-check`` on a tiny model: its tables, and that a wrong embedding ends it with 1."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from featstore.encoders.running import RunningModel
from tests.benchmarks import gpu_check, gpu_runs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of Phikon-v2's kind with random weights."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        Dinov2Model(config).save_pretrained(folder)
    numbers = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "crop_size": 56}
    (folder / "preprocessor_config.json").write_text(json.dumps(numbers))
    return folder


def options(model: Path, images: int) -> list[str]:
    return ["--device", "cpu", "--weights", str(model), "--images", str(images), "--seconds", "0.5"]


@pytest.mark.slow
def test_tables_and_exit_code(tiny: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.gpu_check", *options(tiny, images=1)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    titles = re.findall(r"^## (.+)$", run.stdout, re.MULTILINE)
    assert titles == ["Parity", "Throughput", "Utilisation", "Stages"]
    tables = re.findall(r"(?:^\|.+\|\n)+", run.stdout, re.MULTILINE)
    shapes = [{row.count("|") for row in table.splitlines()} for table in tables]
    assert shapes == [{3}, {5}, {5}, {4}, {5}]
    parity = dict(re.findall(r"^\| (\w+).*? \| ([\d.-]+) \|", tables[1], re.MULTILINE)[:-1])
    assert parity.keys() == {"float32", "float16", "bfloat16"}
    assert float(parity["float32"]) > 0.99999
    stages = re.findall(r"^\| (\w+) \| ([\d.]+) \|", tables[4], re.MULTILINE)
    assert [stage for stage, _ in stages] == ["decode", "segment", "augment", "transfer", "encode", "write"]
    last = run.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"Parity: held\. 0\.95 of the bare model: (met|missed|in doubt) \(.+\)\. 3,000/s on an H200: not .+", last
    )


def test_a_wrong_embedding_ends_it_with_1(tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    normalise = RunningModel.normalise
    monkeypatch.setattr(RunningModel, "normalise", lambda self, pixels: normalise(self, pixels.flip(-1)))
    monkeypatch.setattr(gpu_runs, "RUNS", 1)
    monkeypatch.setattr(gpu_runs, "DISTINCT", 1)  # the second image is a link
    assert gpu_check.main(options(tiny, images=2)) == 1
    said = capsys.readouterr().out
    assert re.search(r"^\| float32.* \| broken \|$", said, re.MULTILINE)
    assert "images: 2," in said
    assert "Parity: broken." in said.splitlines()[-1]
