"""Version files that are none, that lie, or that a later featstore wrote."""

from __future__ import annotations

import pytest

from featstore.errors import SettingError
from featstore.recipe import canonical_json


def test_fields_that_we_do_not_know(victim, copy, forge, read_all):
    """What a later writer adds is ignored, wherever it stands."""
    right = read_all([victim / "a.store"])[0]["content"]
    path = copy("more")
    forge(path).segment(lambda c: c.directory.update(more={"a": 1}))
    forge(path).table(lambda c: c.directory["attributes"].update(more=[1]))
    forge(path).version(lambda body: (body.update(more="x"), body["tables"][0].update(more=2)))
    told = read_all([path])[0]
    assert told == {"content": right, "ok": True, "problems": []}


def test_a_later_format(copy, forge, read_all, victim):
    """Refused as what it is, not as damage."""
    version, segment = copy("version"), copy("segment")
    newest = forge(version).newest
    newest.write_text(newest.read_text().replace('"format": 1', '"format": 2'))
    file = next((segment / "segments").iterdir())
    file.write_bytes(file.read_bytes().replace(b"featstore 1 ", b"featstore 2 ", 1))
    for told in read_all([version, segment]):
        assert "format 2" in told["error"], told
        assert "pip install --upgrade featstore" in told["error"], told
        assert not told["ok"]


VERSIONS = [
    "",
    " ",
    "{}",
    "[]",
    "null",
    "3",
    '"x"',
    "{",
    "NaN",
    "[" * 100_000,
    '{"body": {}}',
    '{"format": 1}',
    "\0",
    '{"format": 1, "sha256": "0", "body": {"dim": NaN}}',
    '{"format": 1, "sha256": "0", "body": {"dim": "\\ud800"}}',
    '{"format": 1, "sha256": "0", "body": {"dim": 1' + 5000 * "0" + "}}",
    "é",
]


@pytest.mark.parametrize("text", VERSIONS, ids=lambda text: ascii(text[:8]))
def test_a_version_file_that_is_none(copy, forge, read_all, text):
    path = copy("version")
    newest = forge(path).newest
    newest.write_text(text)
    told = read_all([path])[0]
    assert "wrong" not in told, told
    assert newest.name in told["error"], told
    assert not told["ok"]


FIELDS = ["version", "recipe", "fingerprint", "dim", "dtype", "tables", "added", "created", "how", "operation"]
VALUES = [None, True, -1, 0, 1.5, 10**40, "", "x\0", "\ud800", [], [[]], {}, {"a": None}, [{"sha256": "0" * 64}]]


def test_version_fields_of_other_types(copy, forge, read_all):
    """Whatever a field holds: refused by name, or, where it is only for people to read, passed over."""
    words, paths = [], []
    for number, (field, value) in enumerate((field, value) for field in FIELDS for value in VALUES):
        path = copy(str(number))
        try:
            canonical_json({field: value}).encode()
        except (UnicodeEncodeError, SettingError):
            continue
        forge(path).version(lambda body, field=field, value=value: body.update({field: value}))
        words.append((field, value))
        paths.append(path)
    for (field, value), path, told in zip(words, paths, read_all(paths), strict=True):
        assert "wrong" not in told, (field, value, told)
        assert str(path) in told.get("error", str(path)), (field, value, told)
        assert field in {"added", "created", "how", "operation", "tables"} or "error" in told, (field, value, told)
