"""Encoders by name: what is known, what goes together, and what is said where something is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from featstore.encoders import Encoder, encoder_names, encoder_state, load_encoder, weights_present
from featstore.errors import MissingExtraError, SettingError, WeightsNotFoundError


def test_the_names():
    assert encoder_names()[0] == "phikon-v2"
    assert "stain-texture" in encoder_names()


@pytest.mark.parametrize("name", ["phikon", "", "a/b/c", "/", "timm:", "hf-hub:a/b", "../x/y"])
def test_an_unknown_name_lists_the_known_ones(name):
    for call in (load_encoder, weights_present, encoder_state):
        with pytest.raises(SettingError, match=r"phikon-v2, stain-texture.*owner/name"):
            call(name)


def test_built_in_needs_nothing():
    assert isinstance(load_encoder("stain-texture"), Encoder)
    assert weights_present("stain-texture")
    assert "no weights" in encoder_state("stain-texture")


def test_phikon_says_that_its_licence_is_non_commercial(phikon_like):
    assert "non-commercial" in encoder_state("phikon-v2")
    assert "non-commercial" in load_encoder(weights=phikon_like, device="cpu").licence
    assert "non-commercial" in load_encoder.__doc__


@pytest.mark.parametrize(
    "options",
    [{"weights": "somewhere"}, {"revision": "main"}, {"device": "cuda"}, {"precision": "float16"}],
)
def test_options_that_mean_nothing_to_the_built_in_one_are_refused(options):
    with pytest.raises(SettingError, match="stain-texture"):
        load_encoder("stain-texture", **options)


def test_a_folder_has_no_revisions(small):
    with pytest.raises(SettingError, match="revision"):
        load_encoder(weights=small, revision="main")


def test_a_folder_goes_with_any_name(small):
    for name in ("phikon-v2", "owner/model", "mine"):
        encoder = load_encoder(name, weights=str(small), device="cpu")
        assert encoder.settings.name == name
        assert encoder.settings.revision == ""
        assert isinstance(encoder, Encoder)


def test_without_weights_the_message_names_every_way_out():
    assert not weights_present("phikon-v2")
    assert "--weights" in encoder_state("phikon-v2")
    with pytest.raises(WeightsNotFoundError) as caught:
        load_encoder("phikon-v2")
    for way in ("--weights DIR", "HF_HUB_OFFLINE=1", "--encoder stain-texture", "owkin/phikon-v2"):
        assert way in str(caught.value)


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_a_missing_package_names_the_extra(module, small, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[extract\]'"):
        load_encoder(weights=small, device="auto").start()


def test_stain_texture_without_its_packages_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingExtraError, match=r"\.\[extract\]"):
        load_encoder("stain-texture")


def test_looking_for_weights_loads_no_model_library():
    code = (
        "import sys; from featstore.encoders import encoder_names, encoder_state, weights_present;"
        "[(weights_present(name), encoder_state(name)) for name in encoder_names()];"
        "print([name for name in ('torch', 'transformers', 'cv2', 'skimage') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
