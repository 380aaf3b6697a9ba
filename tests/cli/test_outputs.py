"""Outputs that can't be written: figures are told all the same, and what can be known is said before any work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
QUICK = ("--preset", "m4", "--folds", 3, "--inner-folds", 2, "--jobs", 1, "--repeats", 0)
SWEEP = ("--presets", "m4", "--folds", 3, "--seeds", 1, "--jobs", 1, "--repeats", 0)


@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
@pytest.mark.parametrize("as_json", [False, True])
def test_evaluate_tells_its_figures_where_the_disk_is_full(work, featstore, as_json) -> None:
    result = featstore("evaluate", work / "s.store", *QUICK, "--out", FULL, *["--json"] * as_json)
    assert result.exit_code == 1
    assert "/dev/full: no space left" in result.stderr
    if as_json:
        assert 0 <= json.loads(result.stdout)["macro_f1"]["mean"] <= 1
    else:
        assert "macro-F1" in result.stdout


@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
def test_sweep_tells_its_rows_where_the_disk_is_full(work, featstore, tmp_path) -> None:
    (tmp_path / "sweep.png").symlink_to(FULL)
    result = featstore("sweep", work / "s.store", *SWEEP, "--out", tmp_path, "--json")
    assert result.exit_code == 1
    assert "sweep.png: no space left" in result.stderr
    told = json.loads(result.stdout)
    assert len(told["rows"]) == 1
    assert told["out"] is None


def test_sweep_makes_no_folder_before_all_is_checked(work, featstore, tmp_path) -> None:
    new = tmp_path / "new"
    for arguments, code in (
        (("--repeats", "0,x", "--out", new), 2),
        (("--repeats", 7, "--out", new), 1),
        (("--out", work / "s.store" / "deep" / "er"), 2),
    ):
        assert featstore("sweep", work / "s.store", *arguments).exit_code == code
    assert not new.exists()
    assert not (work / "s.store" / "deep").exists()


@pytest.mark.parametrize("place", ["sweep.png", "sweep.csv"])
def test_sweep_refuses_a_folder_in_place_of_a_file_before_the_work(work, featstore, tmp_path, place) -> None:
    (tmp_path / place).mkdir()
    result = featstore("sweep", work / "s.store", *SWEEP, "--out", tmp_path)
    assert result.exit_code == 1
    assert f"{place}: a folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [place]


def test_sweep_refuses_a_file_in_place_of_the_folder(work, featstore, tmp_path) -> None:
    (tmp_path / "taken").write_text("mine")
    result = featstore("sweep", work / "s.store", "--out", tmp_path / "taken")
    assert result.exit_code == 1
    assert "expected a folder" in result.stderr


def piped(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from featstore_cli.app import app; app()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="a system with /dev/stdout")
def test_a_file_may_be_stdout_and_stdout_a_pipe_but_not_with_json(work) -> None:
    command = ("predict", work / "m.model", work / "s.store", "--out", "/dev/stdout")
    done = piped(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sample_index,label,confidence")
    assert "/dev/stdout: 8 images" in done.stdout
    refused = piped(*command, "--json")
    assert refused.returncode == 2
    assert "/dev/stdout is stdout" in " ".join(refused.stderr.replace("│", " ").split())
    assert refused.stdout == ""
