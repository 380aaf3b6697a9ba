"""The recipe's fingerprint: canonical, complete, and blind to how things are computed."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.errors import SettingError
from featstore.recipe import (
    AugmentationSettings,
    CropSettings,
    EncoderSettings,
    Recipe,
    StainSettings,
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
    expected = "56621ef6555d9f3a19697fc4a060b572cf03744e37a5a628c90d533ef6d13197"
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
    other = {"max_blobs": 3, "min_area_px": 7, "margin": 0.5, "fill": (1.0, 1.0, 1.0), "version": 3}
    other |= {"masks": "given", "artefacts": "subtract"}
    other |= {"scales": (1, 2), "tile_px": 224, "tile_tissue": 0.5, "mpp": 0.5, "limits": (("blur", (0.5,)),)}
    before = CropSettings(tile_px=64 if field in {"tile_tissue", "mpp"} else 0)
    changed = Recipe(ENCODER, crops=dataclasses.replace(before, **{field: other[field]}))
    assert changed.fingerprint != Recipe(ENCODER, before).fingerprint
    ((path, _, _),) = differences(Recipe(ENCODER, before).to_dict(), changed.to_dict())
    assert path == f"crops.{field}"


def test_what_was_added_later_is_left_out_while_it_has_its_default():
    plain = Recipe(ENCODER).to_dict()
    assert list(plain["crops"]) == ["fill", "margin", "max_blobs", "min_area_px", "version"]
    assert Recipe.from_dict(plain) == Recipe(ENCODER)
    scaled = Recipe(ENCODER, CropSettings(scales=(1, 4), tile_px=64))
    assert scaled.to_dict()["crops"] == plain["crops"] | {"scales": [1, 4], "tile_px": 64}
    assert Recipe.from_dict(scaled.to_dict()) == scaled


def test_a_setting_has_one_form_and_one_fingerprint():
    plain = CropSettings(scales=(1, 2), tile_px=64, tile_tissue=1.0, mpp=1.0)
    for scales, one in (([1, 2], 1), (np.array([1, 2]), np.float32(1)), ((np.int64(1), 2), np.int32(1))):
        given = CropSettings(scales=scales, tile_px=np.int64(64), tile_tissue=one, mpp=one)
        assert given == plain
        assert Recipe(ENCODER, given).fingerprint == Recipe(ENCODER, plain).fingerprint


def test_a_stain_counts_with_its_reference():
    macenko = Recipe(ENCODER, stain=StainSettings.to("macenko"))
    assert macenko.fingerprint != Recipe(ENCODER).fingerprint
    assert Recipe.from_dict(macenko.to_dict()) == macenko
    assert "stain" not in Recipe(ENCODER, stain=StainSettings.to("none")).to_dict()
    other = dataclasses.replace(macenko.stain, reference=(0.5, *macenko.stain.reference[1:]))
    paths = differences(macenko.to_dict(), Recipe(ENCODER, stain=other).to_dict())
    assert [path for path, _, _ in paths] == ["stain.reference"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: StainSettings("vahadane"),
        lambda: StainSettings("macenko"),
        lambda: StainSettings("none", (1.0,)),
        lambda: StainSettings("reinhard", (float("nan"),) * 6),
        lambda: CropSettings(max_blobs=0),
        lambda: CropSettings(min_area_px=0),
        lambda: CropSettings(margin=-1),
        lambda: CropSettings(fill=(0.5, 0.5, 2)),
        lambda: CropSettings(scales=()),
        lambda: CropSettings(scales=(2,)),
        lambda: CropSettings(scales=(1, 4, 2)),
        lambda: CropSettings(scales=(1, 1)),
        lambda: CropSettings(scales=(1, 17)),
        lambda: CropSettings(scales=None),
        lambda: CropSettings(scales=2),
        lambda: CropSettings(scales=(1, "2")),
        lambda: CropSettings(scales=(1, 2.5)),
        lambda: CropSettings(scales=(1, 2.0)),
        lambda: CropSettings(scales=(True, 2)),
        lambda: CropSettings(scales="12"),
        lambda: CropSettings(tile_px=64.5),
        lambda: CropSettings(tile_px="64"),
        lambda: CropSettings(tile_px=None),
        lambda: CropSettings(tile_px=64, tile_tissue="1"),
        lambda: CropSettings(tile_px=64, mpp=None),
        lambda: CropSettings(tile_px=64, mpp=True),
        lambda: CropSettings(tile_px=64, mpp=-0.5),
        lambda: CropSettings(tile_px=15),
        lambda: CropSettings(tile_px=64, tile_tissue=1.5),
        lambda: CropSettings(tile_px=64, mpp=float("nan")),
        lambda: CropSettings(mpp=0.5),
        lambda: CropSettings(tile_tissue=0.5),
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


def altered(**changes):
    """The plain form of a recipe with fields set (dotted paths, ``__`` for a dot), or taken out where None."""
    plain = Recipe(ENCODER).to_dict()
    for path, value in changes.items():
        *inner, last = path.split("__")
        place = plain
        for name in inner:
            place = place[name]
        place.pop(last, None)
        if value is not None:
            place[last] = value
    return plain


@given(
    st.integers(-(2**70), 2**70),
    st.integers(1, 99),
    st.floats(0, 10) | st.integers(0, 10),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_a_recipe_is_read_back_as_it_was(seed, max_blobs, margin, fill):
    recipe = Recipe(ENCODER, CropSettings(max_blobs=max_blobs, margin=margin, fill=fill), seed=seed)
    again = Recipe.from_dict(recipe.to_dict())
    assert again == recipe
    assert again.fingerprint == recipe.fingerprint


def test_every_field_is_read_back():
    augmentation = {"noise_sigma": [0.0, 0.5], "rotation_deg": 90, "erase_probability": 1.0}
    plain = altered(**{f"augmentation__{name}": value for name, value in augmentation.items()})
    plain["encoder"] |= {"revision": "abc", "mean": [0.1, 0.2, 0.3], "version": 7}
    assert Recipe.from_dict(plain).to_dict() == plain


@pytest.mark.parametrize(
    ("plain", "found"),
    [
        ({"encoder": {"name": "imported", "dim": 4}, "imported": {}}, "recipe has no field 'crops'"),
        ({}, "recipe has no field 'encoder'"),
        (altered(seed=None), "recipe has no field 'seed'"),
        (altered(encoder__pooling=None), "recipe.encoder has no field 'pooling'"),
        (altered(crops__shape="round"), "recipe.crops has an unknown field 'shape'"),
        (altered(stitching={}), "recipe has an unknown field 'stitching'"),
        (altered(crops__version=1), "crops.version is 1"),
        (altered(augmentation__version=0), "augmentation.version is 0"),
        (altered(crops="all"), "recipe.crops is 'all'"),
        (altered(seed=1.5), "recipe.seed is 1.5"),
        (altered(seed=True), "recipe.seed is True"),
        (altered(crops__margin="wide"), "recipe.crops.margin is 'wide'"),
        (altered(crops__fill=[0.5, 0.5]), r"recipe.crops.fill is \[0.5, 0.5\]"),
        (altered(crops__fill=[0.5, 0.5, "0.5"]), "recipe.crops.fill is '0.5'"),
        (altered(crops__margin=-1.0), "margin is -1.0"),
        (altered(crops__scales=[1, 2.0]), "recipe.crops.scales is 2.0"),
        (altered(stain={"method": "macenko", "reference": [0.5] * 8, "version": 2}), "stain.version is 2"),
        (altered(stain={"method": "none", "reference": [], "version": 1}), "recipe.stain is .*as without it"),
        (altered(crops__scales=2), "recipe.crops.scales is 2"),
        (altered(crops__scales=[1]), "recipe.crops.scales is .*as without it"),
        (altered(crops__tile_px=0), "recipe.crops.tile_px is 0, as without it"),
        (altered(augmentation__noise_sigma=[0.3, 0.1]), "noise_sigma is"),
    ],
)
def test_what_is_no_recipe_of_an_extraction_is_refused(plain, found):
    with pytest.raises(SettingError, match=f"{found}.*expected"):
        Recipe.from_dict(plain)
