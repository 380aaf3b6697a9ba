"""The recipe's fingerprint: canonical, complete, and blind to how things are computed."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.errors import SettingError
from featstore.recipe import (
    AugmentationSettings,
    CropSettings,
    EncoderSettings,
    Recipe,
    canonical_json,
    differences,
    fingerprint,
)

ENCODER = EncoderSettings("made-up", 4)


def test_the_fingerprint_is_the_digest_of_the_canonical_json():
    text = '{"a":[1,2.5],"b":{"é":"x"}}'
    assert canonical_json({"b": {"é": "x"}, "a": (1, 2.5)}) == text
    assert fingerprint({"b": {"é": "x"}, "a": [1, 2.5]}) == hashlib.sha256(text.encode()).hexdigest()


def test_the_default_recipe_keeps_its_fingerprint():
    """Stores out there were made with it: a change of a default or a field is a change of the format of recipes."""
    expected = "21e66282eeb16358a9b219238d3c6d38596f188294a3a6659d34650fad1a393a"
    assert Recipe(ENCODER).fingerprint == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_the_order_of_fields_never_matters(recipe):
    backwards = dict(reversed(recipe.items()))
    assert fingerprint(recipe) == fingerprint(backwards)
    assert differences(recipe, backwards) == []


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(CropSettings)])
def test_every_field_of_cropping_counts(field):
    other = {"max_blobs": 3, "min_area_px": 7, "margin": 0.5, "fill": (1.0, 1.0, 1.0), "version": 2}[field]
    changed = Recipe(ENCODER, crops=dataclasses.replace(CropSettings(), **{field: other}))
    assert changed.fingerprint != Recipe(ENCODER).fingerprint
    ((path, _, _),) = differences(Recipe(ENCODER).to_dict(), changed.to_dict())
    assert path == f"crops.{field}"


@pytest.mark.parametrize(
    "make",
    [
        lambda: CropSettings(max_blobs=0),
        lambda: CropSettings(min_area_px=0),
        lambda: CropSettings(margin=-1),
        lambda: CropSettings(fill=(0.5, 0.5, 2)),
        lambda: AugmentationSettings(blur_probability=1.5),
        lambda: AugmentationSettings(noise_sigma=(0.3, 0.1)),
        lambda: AugmentationSettings(rotation_deg=-1),
        lambda: AugmentationSettings(erase_aspect=(0, 1)),
        lambda: AugmentationSettings(erase_area=(0.1, 1.1)),
    ],
)
def test_settings_outside_their_range_are_refused(make):
    with pytest.raises(SettingError, match="expected"):
        make()
