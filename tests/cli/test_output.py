"""Output that people and programs read: what a store says of itself steers no terminal."""

from __future__ import annotations

import hashlib
import json

import pytest

from featstore.recipe import canonical_json
from featstore.store import create_store
from featstore_cli.output import note, print_json, print_lines

HOSTILE = "\x1b]0;title\x07\x1b[31mred\r\x9b2J\x7f\u202etxt.\nError: all is lost\u2028"


@pytest.fixture
def crafted(tmp_path):
    """A store whose log, recipe, names and labels steer terminals."""
    path = tmp_path / "x.store"
    with create_store(path, {"encoder": {"name": HOSTILE}}, 2) as writer:
        writer.add(f"a{HOSTILE}", [0], [0], [[1, 2]], label=HOSTILE, group=HOSTILE)
    file = path / "versions" / "00000001.json"
    body = json.loads(file.read_text())["body"] | {"created": HOSTILE, "operation": HOSTILE, "how": {HOSTILE: HOSTILE}}
    digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    file.write_text(json.dumps({"format": 1, "sha256": digest, "body": body}))
    return path


def steering(text: str) -> set[str]:
    return {character for character in text if not character.isprintable() and character != "\n"}


@pytest.mark.parametrize("command", ["info", "log", "verify", "diff"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_crafted_store_steers_no_terminal(crafted, featstore, command, as_json):
    others = [crafted] if command == "diff" else []
    result = featstore("store", command, crafted, *others, *["--json"] * as_json)
    assert result.exit_code == 0, result.output
    assert steering(result.stdout + result.stderr) == set()
    assert "\nError: all is lost" not in result.output
    if command in {"info", "log"}:
        assert "title" in result.stdout
    if as_json and command == "log":
        assert json.loads(result.stdout)["versions"][0]["created"] == HOSTILE


def test_errors_and_warnings_steer_no_terminal(crafted, featstore, tmp_path):
    other = tmp_path / "\x1bno.store"
    result = featstore("store", "info", other)
    assert result.exit_code == 1
    assert steering(result.stderr) == set()
    assert "\\u001bno.store" in result.stderr


def test_a_column_of_a_csv_steers_no_terminal(crafted, featstore, tmp_path):
    """Nor does it where the message is one on wrong usage, and the first of many columns are told."""
    labels = tmp_path / "labels.csv"
    labels.write_text(f'sample_index,label,"{HOSTILE}",' + ",".join(f"c{n}" for n in range(100)) + "\na.png,A\n")
    result = featstore("fit", crafted, "--labels", labels, "--group", "patient")
    assert result.exit_code == 2
    assert steering(result.stderr.replace("\u2500", "")) == set()
    assert "\\u001b[31mred" in result.stderr
    assert "c9" not in result.stderr


def test_a_line_is_a_line(capsys):
    print_lines(["a\nb", "Größe µ 細胞 🔬", "\udc80"])
    note("x\ty")
    told = capsys.readouterr()
    assert told.out == "a\\nb\nGröße µ 細胞 🔬\n\\udc80\n"
    assert told.err == "x\\ty\n"


def test_json_is_what_it_was(capsys):
    value = {HOSTILE: [HOSTILE, "Größe µ", "\U000e0001", 1.5, None]}
    print_json(value)
    told = capsys.readouterr().out
    assert json.loads(told) == value
    assert steering(told) == set()
    assert "Größe µ" in told
