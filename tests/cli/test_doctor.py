"""``featstore doctor --selftest``: every check in a line, warnings on stderr, exit 1 if one fails."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

import pytest

from featstore.extract import loader, selftest

CHECKS = ["pixels", "embeddings", "store"]

WITHOUT_OPENCV = """
import sys
sys.modules["cv2"] = None
from featstore_cli.app import app
app(["doctor", "--selftest", "--json"])
"""


@pytest.fixture
def other_pixels(monkeypatch):
    """A machine whose augmentation never happens."""
    monkeypatch.setattr(loader, "augment", lambda crop, *_, **__: crop)


def states(text: str) -> dict[str, str]:
    """The word after each check's name."""
    lines = text[text.index("self-test") :].splitlines()[1:]
    return {line.split()[0]: line.split()[1].rstrip(":") for line in lines}


def test_every_check_is_a_line(featstore):
    result = featstore("doctor", "--selftest")
    assert result.exit_code == 0, result.output
    assert states(result.stdout) == dict.fromkeys(CHECKS, "ok")
    assert "Error" not in result.stderr


def test_json_lists_the_checks_and_without_the_flag_nothing_is_tried(featstore_json):
    rows = featstore_json("doctor", "--selftest")["selftest"]
    assert [(row["check"], row["ok"]) for row in rows] == [(name, True) for name in CHECKS]
    assert all(row["detail"] for row in rows)
    assert "selftest" not in featstore_json("doctor")


def test_a_failed_check_is_exit_1_with_a_plain_message(featstore, other_pixels):
    result = featstore("doctor", "--selftest")
    assert result.exit_code == 1
    assert states(result.stdout) == {"pixels": "FAILED", "embeddings": "ok", "store": "ok"}
    assert result.stderr.startswith("Error: the self-test of pixels failed: ")
    assert "must not be continued here" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failed_check_leaves_the_json_whole(featstore, other_pixels):
    result = featstore("doctor", "--selftest", "--json")
    assert result.exit_code == 1
    assert [row["ok"] for row in json.loads(result.stdout)["selftest"]] == [False, True, True]


def test_other_rounding_is_a_warning_on_stderr(featstore, monkeypatch):
    monkeypatch.setattr(selftest, "GOLDEN", "0" * 64)
    result = featstore("doctor", "--selftest", "--json")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: pixels: ")
    pixels, *others = json.loads(result.stdout)["selftest"]
    assert (pixels["ok"], pixels["warning"]) == (True, True)
    assert not any("warning" in row for row in others)


def test_without_a_temporary_folder_everything_fails_and_is_told(featstore, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    result = featstore("doctor", "--selftest")
    assert result.exit_code == 1
    assert states(result.stdout) == dict.fromkeys(CHECKS, "FAILED")
    assert result.stderr.count("nowhere") == 3


def test_without_opencv_a_store_is_still_tried():
    done = subprocess.run([sys.executable, "-c", WITHOUT_OPENCV], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["check"]: row for row in json.loads(done.stdout)["selftest"]}
    assert list(rows) == CHECKS
    for name in ("pixels", "embeddings"):
        assert rows[name]["warning"]
        assert rows[name]["detail"].startswith("not checked: ")
        assert f"Warning: {name}: not checked" in done.stderr
    assert rows["store"] == {"check": "store", "ok": True, "detail": rows["store"]["detail"]}
