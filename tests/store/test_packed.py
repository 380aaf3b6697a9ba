"""Packed stores that somebody forged: refused by name, whatever their attributes hold."""

from __future__ import annotations

import hashlib
import json

import pytest

from featstore.errors import StoreFormatError
from featstore.store import open_store, pack


@pytest.fixture
def packed(make_store, tmp_path):
    pack(make_store(), tmp_path / "x.h5")
    return tmp_path / "x.h5"


def forge(path, edit) -> None:
    """Change the directory and make its checksum right again."""
    content = path.read_bytes()
    line, _, rest = content.partition(b"\n")
    length, block = map(int, line.split()[3:])
    directory = json.loads(rest[:length])
    edit(directory["attributes"])
    text = json.dumps(directory).encode()
    head = f"featstore 1 {hashlib.sha256(text).hexdigest()} {len(text)} {block}\n".encode() + text
    path.write_bytes(head.ljust(block, b"\0") + content[block:])


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "recipe", [{"a": float("nan")}, {"a": "\ud800"}, {"a": nested(900)}, {"a": 1}, {}, [], None, "x"], ids=ascii
)
def test_a_recipe_that_is_none_or_another(packed, recipe):
    forge(packed, lambda attributes: attributes.update(recipe=recipe))
    with pytest.raises(StoreFormatError, match=r"x\.h5: (not readable as a packed store|its fields do not fit)"):
        open_store(packed)


@pytest.mark.parametrize("log", [{}, [], None, {"version": 0}, {"version": True}, {"version": "1"}])
def test_a_log_that_is_none(packed, log):
    forge(packed, lambda attributes: attributes.update(log=log))
    with pytest.raises(StoreFormatError, match=r"x\.h5: "):
        open_store(packed)


def test_what_was_not_forged_is_read(packed, helpers, tmp_path):
    forge(packed, lambda attributes: attributes.update(more="x"))
    assert helpers.said_by(packed) == helpers.said_by(tmp_path / "some.store")
