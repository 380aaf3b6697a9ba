"""The encoder of a store, found again."""

from __future__ import annotations

import pytest

from featstore.encoders import load_encoder
from featstore.errors import SettingError, WeightsNotFoundError
from featstore.explain import encoder_of
from featstore.recipe import Recipe
from featstore.store import create_store, open_store


@pytest.mark.parametrize("name", ["phikon-v2", "mine"])
def test_weights_of_a_folder_have_to_be_named_again(tiny_dinov2, tmp_path, name) -> None:
    """Whether or not the name is one that anybody else knows."""
    settings = load_encoder(name, weights=tiny_dinov2, device="cpu", precision="float32").settings
    with create_store(tmp_path / "x.store", Recipe(settings).to_dict(), settings.dim) as writer:
        writer.add(image="a", blobs=[0], repeats=[0], embeddings=[[0.0] * settings.dim])
    store = open_store(tmp_path / "x.store")
    assert encoder_of(store, tiny_dinov2, "cpu").settings == settings
    with pytest.raises(WeightsNotFoundError, match=r"from a folder.*--weights"):
        encoder_of(store, None, "cpu")


def test_what_is_wrong_with_an_option_stays_what_it_is(plain) -> None:
    with pytest.raises(SettingError, match="computes on the CPU"):
        encoder_of(plain.store, None, "cuda")
