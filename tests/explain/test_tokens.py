"""Maps over tokens: the same embeddings, a model that is left as it was, and heat where the signal is."""

from __future__ import annotations

import numpy as np
import pytest

from featstore.errors import EncoderError
from featstore.explain.tokens import _through, attention_rollout, layout_of, token_grad_cam
from featstore.explain.transformers_tokens import blocks_of
from tests.explain.small_models import KINDS, SIDE_PX, loaded, saved


@pytest.fixture(scope="module", params=KINDS)
def encoder(request, tmp_path_factory):
    return loaded(request.param, saved(request.param, tmp_path_factory.mktemp(request.param), patch_px=14))


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    return loaded("dinov2", saved("dinov2", tmp_path_factory.mktemp("dinov2")))


@pytest.fixture
def crops(rng):
    return rng.integers(0, 256, (5, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


@pytest.fixture
def gradient(encoder, rng):
    return rng.standard_normal((5, encoder.settings.dim))


def test_maps_have_the_tokens_side_and_are_not_negative(encoder, crops, gradient) -> None:
    for maps in (token_grad_cam(encoder.running, crops, gradient), attention_rollout(encoder.running, crops)):
        assert maps.shape == (5, 4, 4)
        assert maps.dtype == np.float32
        assert maps.min() >= 0
        assert maps.max() > 0


def test_the_model_is_left_as_it_was(encoder, crops, gradient) -> None:
    model = encoder.running.model
    before, found = encoder.encode(crops), state_of(model)
    token_grad_cam(encoder.running, crops, gradient)
    attention_rollout(encoder.running, crops)
    np.testing.assert_array_equal(encoder.encode(crops), before)
    assert state_of(model) == found
    assert all(parameter.grad is None for parameter in model.parameters())


def state_of(model) -> list[tuple]:
    """How attention is computed, hooks and modes of each module, and what is free to be trained."""
    modules = [
        (
            module.training,
            getattr(module, "fused_attn", None),
            len(module._forward_pre_hooks),
            len(module._forward_hooks),
        )
        for module in model.modules()
    ]
    free = tuple(parameter.requires_grad for parameter in model.parameters())
    return [*modules, (getattr(getattr(model, "config", None), "_attn_implementation", None), *free)]


def test_a_crop_s_map_does_not_depend_on_its_neighbours(encoder, crops, gradient) -> None:
    """Nor on where a batch ends."""
    together = token_grad_cam(encoder.running, crops, gradient)
    alone = [token_grad_cam(encoder.running, crops[n : n + 1], gradient[n : n + 1])[0] for n in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5 * together.max())


def test_heat_is_activation_times_gradient(encoder, crops, gradient) -> None:
    """By hand, where tokens are read last: move those of patches towards 0 a little, and see what the score does."""
    import torch

    running, layout = encoder.running, layout_of(encoder.running)
    signed = [token_grad_cam(running, crops[:1], sign * gradient[:1], last=1).sum() for sign in (1, -1)]

    class Smaller(torch.nn.Module):
        def forward(self, grid):
            return grid * (1 - 1e-3)

    whole = (encoder.encode(crops[:1])[0] * gradient[0]).sum()
    with _through(layout.places[-1], Smaller(), layout.side):
        less = (encoder.encode(crops[:1])[0] * gradient[0]).sum()
    assert (whole - less) / 1e-3 == pytest.approx(signed[0] - signed[1], rel=0.1, abs=2e-3)


def test_attention_is_told_as_it_is_used(encoder, crops) -> None:
    """In every block, of every token, as shares; and what the encoder says meanwhile is what it says otherwise."""
    import torch

    layout, pixels = layout_of(encoder.running), encoder.running.normalise(torch.from_numpy(crops))
    with torch.inference_mode():
        attentions = layout.attentions(pixels)
    assert len(attentions) == 3
    tokens = attentions[0].shape[-1]
    assert tokens >= layout.side**2 + (layout.class_share > 0)
    for each in attentions:
        assert each.shape == (5, tokens, tokens)
        torch.testing.assert_close(each.sum(dim=-1), torch.ones(5, tokens))


def test_rollout_is_the_product_of_all_blocks(encoder, crops) -> None:
    """As its authors write it, with whole matrices."""
    import torch

    running, layout = encoder.running, layout_of(encoder.running)
    with torch.inference_mode():
        told = [each[0].numpy() for each in layout.attentions(running.normalise(torch.from_numpy(crops[:1])))]
    one = np.eye(len(told[0]))
    rolled = np.linalg.multi_dot([(each + one) / 2 for each in reversed(told)])[:, -(layout.side**2) :]
    patches = rolled[-(layout.side**2) :].mean(axis=0)
    expected = layout.class_share * rolled[0] + (1 - layout.class_share) * patches
    np.testing.assert_allclose(attention_rollout(running, crops[:1])[0].ravel(), expected, rtol=1e-4)


def test_rollout_of_even_attention_is_even(encoder, crops) -> None:
    """Attention that is the same everywhere leaves every patch the same share."""
    import torch

    running = encoder.running
    kept = {name: value.clone() for name, value in running.model.state_dict().items()}
    try:
        with torch.no_grad():
            for name, value in running.model.named_parameters():
                if any(part in name for part in ("q_proj", "k_proj", "query", "key", "qkv")):
                    value.zero_()
        maps = attention_rollout(running, crops[:1])
    finally:
        running.model.load_state_dict(kept)
    np.testing.assert_allclose(maps, maps.mean(), rtol=1e-4)


def test_a_model_that_is_built_otherwise_is_named(dinov2, monkeypatch) -> None:
    monkeypatch.setattr(dinov2.running.model.config, "num_hidden_layers", 99)
    with pytest.raises(EncoderError, match=r"blocks of tiny"):
        blocks_of(dinov2.running)
    monkeypatch.undo()
    monkeypatch.setattr(dinov2.running.model.config, "patch_size", 0)
    with pytest.raises(EncoderError, match="patch"):
        layout_of(dinov2.running)


SMALL = {"img_size": 32, "embed_dim": 12, "depth": 1, "num_heads": 2}
OTHERS = {
    "is a ResNet of timm's": ("test_resnet", {}),
    "is a SwinTransformer of timm's": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2)},
    ),
    "2 x 4 patches": ("vit_tiny_patch16_224", SMALL | {"patch_size": (16, 8)}),
    "can't be told": ("vit_base_patch16_xp_224", SMALL),  # its blocks attend and compute side by side
}


@pytest.mark.parametrize("said", OTHERS)
def test_a_network_of_timm_s_without_such_tokens_is_named(said, tmp_path) -> None:
    import timm

    architecture, keywords = OTHERS[said]
    model = timm.create_model(architecture, num_classes=0, **keywords)
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    with pytest.raises(EncoderError, match=said):
        layout_of(loaded("timm", tmp_path).running)
