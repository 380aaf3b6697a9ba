"""What ``featstore extract`` takes beside data and store, and what it tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from featstore.store import open_store


@pytest.fixture
def few(small_data, tmp_path):
    """Four training images and two test images, none contaminated, in a folder that may be changed."""
    root = tmp_path / "few"
    for split, numbers in (("train_data", (0, 1, 2, 3)), ("test_data", (0, 1))):
        (root / split).mkdir(parents=True)
        for number in numbers:
            for kind in ("img", "mask"):
                shutil.copy(small_data / split / f"{kind}_{number:04d}.png", root / split)
    lines = (small_data / "train_labels.csv").read_text().splitlines()
    (root / "train_labels.csv").write_text("\n".join(lines[:5]) + "\n")
    return root


@pytest.fixture
def extract(featstore, few, tmp_path):
    def run(*options):
        return featstore("extract", few, "--store", tmp_path / "s.store", "--encoder", "stain-texture", *options)

    return run


def test_stages_and_the_bottleneck_are_told(extract):
    result = extract("--repeats", 1)
    assert "by stage, over all processes: decode" in result.stdout
    assert re.search(r"most of the time went into (segment|encode)\b", result.stdout)  # by the machine
    again = extract("--repeats", 1)
    assert "by stage" not in again.stdout
    assert again.exit_code == 0


def test_stages_in_json(extract):
    told = json.loads(extract("--repeats", 1, "--json").stdout)
    assert list(told["stages"]) == ["decode", "segment", "augment", "transfer", "encode", "write"]
    assert told["bottleneck"]["stage"] in ("segment", "encode")  # whichever took longer on this machine
    assert told["how"]["device"] == "cpu"


def test_a_dry_run_tells_and_writes_nothing(extract, tmp_path):
    result = extract("--repeats", 2, "--dry-run")
    assert result.exit_code == 0
    assert "0 embeddings there" in result.stdout
    assert "embeddings a second" in result.stdout
    assert not (tmp_path / "s.store").exists()
    told = json.loads(extract("--repeats", 2, "--dry-run", "--json").stdout)
    assert told["dry_run"]
    real = json.loads(extract("--repeats", 2, "--json").stdout)
    assert (told["to_compute"], told["blobs"]) == (real["computed"], real["blobs"])
    assert "0 to compute" in extract("--repeats", 2, "--dry-run").stdout
    assert open_store(tmp_path / "s.store").version == 1


def test_parts_of_the_images(extract, tmp_path):
    counts = [json.loads(extract("--shard", part, "--json").stdout)["images"] for part in ("1/2", "2/2")]
    assert counts == [3, 3]
    assert len(open_store(tmp_path / "s.store").images) == 6


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "a/b", "1/", "-1/4", "1/4/2", "²/4"])
def test_parts_that_there_are_not(extract, part):
    result = extract("--shard", part)
    assert result.exit_code == 2
    assert "1/N to N/N" in result.stderr


def test_one_bad_image_is_a_warning_and_strict_makes_it_an_error(extract, few, tmp_path):
    (few / "train_data" / "img_0002.png").write_bytes(b"no image")
    usual = extract()
    assert usual.exit_code == 0
    assert "1 image left out" in usual.stderr
    strict = extract("--strict")
    assert strict.exit_code == 1
    assert "1 image (unreadable) can't be used (--strict). All others are stored." in strict.stderr
    assert len(open_store(tmp_path / "s.store").usable("train")) == 3
    (few / "train_data" / "img_0002.png").unlink()
    (few / "train_data" / "mask_0002.png").unlink()
    assert extract("--strict").exit_code == 0


def test_contaminated_images_are_no_error(featstore, small_data, tmp_path):
    result = featstore("extract", small_data, "--store", tmp_path / "s.store", "--encoder", "stain-texture", "--strict")
    assert "contaminated" in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize("options", [["--batch-size", "0"], ["--workers", "-1"], ["--fill", "red"]])
def test_wrong_usage(extract, options):
    assert extract(*options).exit_code == 2


def test_a_cluster_that_is_not_there(extract):
    result = extract("--dask", "nowhere")
    assert result.exit_code == 1
    assert "no address of a Dask scheduler" in result.stderr


def test_a_run_that_finds_all_done_loads_no_model(few, tmp_path, tiny_dinov2):
    """Neither torch nor transformers: weights are only hashed."""
    script = "import sys; from featstore_cli.app import app\ntry: app()\nexcept SystemExit: pass\n"
    script += "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    command = [sys.executable, "-c", script, "extract", str(few), "--store", str(tmp_path / "s.store")]
    command += ["--weights", str(tiny_dinov2), "--workers", "0"]
    loaded = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1] for _ in range(2)
    ]
    assert loaded == ["['torch', 'transformers']", "[]"]
