"""Maps over tokens: the same embeddings, a model that is left as it was, and heat where the signal is."""

from __future__ import annotations

import numpy as np
import pytest

from featstore.encoders import load_encoder
from featstore.errors import EncoderError
from featstore.explain.tokens import attention_rollout, blocks_of, grid_side, token_grad_cam


def saved(kind: str, folder):
    """Save a tiny model of each kind that the registry loads."""
    import torch
    import transformers

    settings = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    names = {
        "dinov2": ("Dinov2Config", "Dinov2Model", {}),
        "registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", {"num_register_tokens": 3}),
        "vit": ("ViTConfig", "ViTModel", {"intermediate_size": 48}),
        "deit": ("DeiTConfig", "DeiTModel", {"intermediate_size": 48}),
    }
    config, model, more = names[kind]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        getattr(transformers, model)(getattr(transformers, config)(**settings, **more)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["dinov2", "registers", "vit", "deit"])
def encoder(request, tmp_path_factory):
    folder = saved(request.param, tmp_path_factory.mktemp(request.param))
    return load_encoder("tiny", weights=folder, device="cpu", precision="float32")


@pytest.fixture
def crops(rng):
    return rng.integers(0, 256, (5, 56, 56, 3), dtype=np.uint8)


@pytest.fixture
def gradient(rng):
    return rng.standard_normal((5, 24))


def test_maps_have_the_tokens_side_and_are_not_negative(encoder, crops, gradient) -> None:
    for maps in (token_grad_cam(encoder.running, crops, gradient), attention_rollout(encoder.running, crops)):
        assert maps.shape == (5, 4, 4)
        assert maps.dtype == np.float32
        assert maps.min() >= 0
        assert maps.max() > 0


def test_the_model_is_left_as_it_was(encoder, crops, gradient) -> None:
    model = encoder.running.model
    before = encoder.encode(crops)
    ways = model.config._attn_implementation
    free = [parameter.requires_grad for parameter in model.parameters()]
    token_grad_cam(encoder.running, crops, gradient)
    attention_rollout(encoder.running, crops)
    np.testing.assert_array_equal(encoder.encode(crops), before)
    assert model.config._attn_implementation == ways
    assert [parameter.requires_grad for parameter in model.parameters()] == free
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for block in blocks_of(encoder.running) for module in block.modules())


def test_a_crop_s_map_does_not_depend_on_its_neighbours(encoder, crops, gradient) -> None:
    """Nor on where a batch ends."""
    together = token_grad_cam(encoder.running, crops, gradient)
    alone = [token_grad_cam(encoder.running, crops[n : n + 1], gradient[n : n + 1])[0] for n in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5 * together.max())


def test_heat_is_activation_times_gradient_of_what_enters_attention(encoder, crops, gradient) -> None:
    """By hand, for the last block: move all patch tokens towards 0 by a little, and see what the score does."""
    import torch

    from featstore.explain.tokens import _attention_of, _through

    running, side = encoder.running, grid_side(encoder.running)
    heat = _signed(running, crops[:1], gradient[:1])

    class Smaller(torch.nn.Module):
        def forward(self, grid):
            return grid * (1 - 1e-3)

    module = _attention_of(running, blocks_of(running)[-1])
    whole = (encoder.encode(crops[:1])[0] * gradient[0]).sum()
    with _through(module, Smaller(), side):
        less = (encoder.encode(crops[:1])[0] * gradient[0]).sum()
    assert (whole - less) / 1e-3 == pytest.approx(heat.sum(), rel=0.1, abs=2e-3)


def _signed(running, crops, gradient):
    """Return the last block's map with its signs: that of the gradient less that of the opposite one."""
    return token_grad_cam(running, crops, gradient, blocks=1) - token_grad_cam(running, crops, -gradient, blocks=1)


def test_rollout_of_even_attention_is_even(encoder, crops) -> None:
    """Attention that is the same everywhere leaves every patch the same share."""
    import torch

    running = encoder.running
    kept = {name: value.clone() for name, value in running.model.state_dict().items()}
    try:
        with torch.no_grad():
            for name, value in running.model.named_parameters():
                if any(part in name for part in ("q_proj", "k_proj", "query", "key")):
                    value.zero_()
        maps = attention_rollout(running, crops[:1])
    finally:
        running.model.load_state_dict(kept)
    np.testing.assert_allclose(maps, maps.mean(), rtol=1e-4)


def test_a_model_that_is_built_otherwise_is_named(encoder, monkeypatch) -> None:
    monkeypatch.setattr(encoder.running.model.config, "num_hidden_layers", 99)
    with pytest.raises(EncoderError, match=r"blocks of tiny"):
        blocks_of(encoder.running)
    monkeypatch.setattr(encoder.running.model.config, "patch_size", 0)
    with pytest.raises(EncoderError, match="patch"):
        grid_side(encoder.running)
