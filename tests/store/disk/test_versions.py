"""Version files: what is wrong with one is told apart, and the way out that is named is one."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from featstore.errors import StoreFormatError
from featstore.recipe import canonical_json
from featstore.store.disk.versions import read_version, version_path


@pytest.fixture
def store(many):
    return many(3)


def body_of(store, number: int) -> dict:
    return json.loads(version_path(store, number).read_text())["body"]


def put(store, number: int, document: object) -> None:
    version_path(store, number).write_text(json.dumps(document))


def put_body(store, number: int, body: dict) -> None:
    put(store, number, {"format": 1, "sha256": hashlib.sha256(canonical_json(body).encode()).hexdigest(), "body": body})


def refusal(store, number: int) -> str:
    with pytest.raises(StoreFormatError) as caught:
        read_version(store, number)
    assert str(version_path(store, number)) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        {"format": 2},
        {"format": 2, "tables": []},
        {"format": 2, "sha256": "other", "body": {"recipe": None}},
        {"format": 2, "body": []},
    ],
)
def test_a_later_format_is_told_by_its_number_whatever_is_beside_it(store, document):
    put(store, 3, document)
    assert "format 2; expected format 1. Install a newer featstore" in refusal(store, 3)


@pytest.mark.parametrize("document", [{"format": True}, {"format": 1.0}, {"format": "2"}, {"format": None}, {}, []])
def test_a_format_that_is_no_number_is_damage(store, document):
    put(store, 3, document)
    assert "not readable as a version" in refusal(store, 3)


@pytest.mark.parametrize("damage", ["checksum", "cut", "field", "large"])
def test_the_way_out_of_damage_is_a_version_that_is_there(store, damage):
    """The version before, where there is one; the oldest, whatever its number, has none."""
    version_path(store, 1).unlink()
    for number, earlier in ((3, "--store-version 2"), (2, "")):
        body = body_of(store, number)
        if damage == "checksum":
            put(store, number, {"format": 1, "sha256": "0" * 64, "body": body})
        elif damage == "cut":
            version_path(store, number).write_bytes(version_path(store, number).read_bytes()[:-9])
        elif damage == "field":
            put_body(store, number, {**body, "dim": 0})
        else:
            os.truncate(version_path(store, number), 2**24 + 1)
        told = refusal(store, number)
        assert "Restore the file from a copy" in told
        assert earlier in told
        assert ("--store-version" in told) == bool(earlier), told


def test_a_version_file_that_is_too_large_is_told_so(store):
    os.truncate(version_path(store, 3), 2**40)
    assert f"{2**40} bytes; expected at most {2**24}" in refusal(store, 3)


@pytest.mark.parametrize("field", ["version", "fingerprint", "dim", "dtype"])
@pytest.mark.parametrize("value", [None, True, 0, 2.0, "x", [], {}])
def test_the_field_that_is_wrong_is_named(store, field, value):
    put_body(store, 1, {**body_of(store, 1), field: value})
    told = refusal(store, 1)
    assert "its fields do not fit together" in told
    assert field in told or "unhashable" in told


def test_a_folder_that_cannot_be_listed_is_not_damaged(store, monkeypatch):
    def refuse(_):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("featstore.store.disk.versions.os.listdir", refuse)
    with pytest.raises(StoreFormatError, match=r"versions: can't be read now \(Stale file handle\)\. Mend that"):
        read_version(store)
