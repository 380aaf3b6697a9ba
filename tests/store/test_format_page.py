"""What ``docs/format.md`` says of canonical JSON is what is done."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from featstore.recipe import CropSettings, EncoderSettings, Recipe, canonical_json

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_the_example_of_the_page():
    found = re.search(r"\n```json\n(\{.*\})\n```\n\nis `([0-9a-f]{64})`", PAGE.read_text(encoding="utf-8"))
    example, digest = found.groups()
    assert hashlib.sha256(example.encode()).hexdigest() == digest
    assert canonical_json(json.loads(example)) == example
    assert sorted(json.loads(example), key=lambda key: key.encode("utf-16-be")) != list(json.loads(example))


def by_the_page(value: object) -> str:
    """Write canonical JSON by the words of the page alone."""
    match value:
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return '"' + "".join(SHORT.get(c, c if c >= " " else f"\\u{ord(c):04x}") for c in value) + '"'
        case list():
            return "[" + ",".join(map(by_the_page, value)) + "]"
        case dict():
            keys = sorted(value, key=lambda key: [ord(c) for c in key])
            return "{" + ",".join(f"{by_the_page(key)}:{by_the_page(value[key])}" for key in keys) + "}"
    return repr(value)


@given(values)
def test_the_words_of_the_page(value):
    assert canonical_json(value) == by_the_page(value)


def test_the_numbers_of_the_page():
    numbers = {0.1: "0.1", 1.0: "1.0", -0.0: "-0.0", 1e16: "1e+16", 1.5e-7: "1.5e-07", 1e15: "1000000000000000.0"}
    numbers |= {1e-4: "0.0001", 9e-5: "9e-05", 10**20: "1" + 20 * "0"}
    assert {number: canonical_json(number) for number in numbers} == numbers


def test_the_page_names_every_field_that_came_later():
    (said,) = re.findall(r"stores already \((.*?)\) MUST NOT", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    recipe = Recipe(EncoderSettings("x", 1))
    later = {f"crops.{f.name}" for f in fields(CropSettings)} - {f"crops.{name}" for name in recipe.to_dict()["crops"]}
    later |= {f.name for f in fields(Recipe)} - set(recipe.to_dict())
    assert set(re.findall(r"`(.*?)`", said)) == later
