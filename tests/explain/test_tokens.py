"""Maps over tokens: the same embeddings, a model that is left as it was, and heat where the signal is."""

from __future__ import annotations

import numpy as np
import pytest

from featstore.errors import EncoderError
from featstore.explain import transformers_tokens
from featstore.explain.tokens import _through, attention_rollout, layout_of, token_grad_cam
from featstore.explain.transformers_tokens import blocks_of
from tests.explain.small_models import KINDS, ROLLED, SIDE_PX, loaded, saved


@pytest.fixture(scope="module", params=KINDS)
def encoder(request, tmp_path_factory):
    return loaded(request.param, saved(request.param, tmp_path_factory.mktemp(request.param), patch_px=14))


@pytest.fixture(scope="module", params=ROLLED)
def sharp(request, tmp_path_factory):
    """One head a block, and weights that are large enough for attention to differ from token to token."""
    import torch

    encoder = loaded(request.param, saved(request.param, tmp_path_factory.mktemp("sharp"), patch_px=14, heads=1))
    with torch.no_grad():
        for value in encoder.running.model.parameters():
            if value.ndim > 1:
                value.mul_(10)
    return encoder


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    return loaded("dinov2", saved("dinov2", tmp_path_factory.mktemp("dinov2")))


@pytest.fixture
def crops(rng):
    return rng.integers(0, 256, (5, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)


@pytest.fixture
def gradient(encoder, rng):
    return rng.standard_normal((5, encoder.settings.dim))


def maps_of(running, crops, gradient) -> list[np.ndarray]:
    rolled = [] if layout_of(running).no_rollout else [attention_rollout(running, crops)]
    return [token_grad_cam(running, crops, gradient), *rolled]


def test_maps_have_the_tokens_side_and_are_not_negative(encoder, crops, gradient) -> None:
    for maps in maps_of(encoder.running, crops, gradient):
        assert maps.shape == (5, 4, 4)
        assert maps.dtype == np.float32
        assert maps.min() >= 0
        assert maps.max() > 0


def test_the_model_is_left_as_it_was(encoder, crops, gradient) -> None:
    model = encoder.running.model
    before, found = encoder.encode(crops), state_of(model)
    maps_of(encoder.running, crops, gradient)
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


def final_tokens(model, run, put=None):
    """The tokens that the last norm gives while something runs; others can be put in their place."""
    given = []

    def hook(_module, _entered, tokens):
        given.append(tokens if put is None else put(tokens))
        return given[0]

    norm = model.norm if hasattr(model, "norm") else model.layernorm
    handle = norm.register_forward_hook(hook)
    try:
        run()
    finally:
        handle.remove()
    (tokens,) = given
    return tokens


def test_attention_is_told_as_it_is_used(sharp, crops) -> None:
    """In every block, of every token, as shares; and what the encoder says meanwhile is what it says otherwise.

    A token on its own attends to itself alone: what a block's attention makes of each is its value, projected. What it
    makes of all is the told shares of these, where there is one head.
    """
    import torch

    running, pixels = sharp.running, torch.from_numpy(crops)
    entered = []

    def hook(attention, given, named, made):
        tokens, made = given[0] if given else named["hidden_states"], made[0] if isinstance(made, tuple) else made
        entered.append((attention, tokens, made))

    layout = layout_of(running)
    hooks = [place.module.register_forward_hook(hook, with_kwargs=True) for place in layout.places[:3]]
    otherwise = final_tokens(running.model, lambda: running.embed(pixels))
    for each in hooks:
        each.remove()
    with torch.inference_mode():
        told = []
        meanwhile = final_tokens(running.model, lambda: told.extend(layout.attentions(running.normalise(pixels))))
        torch.testing.assert_close(meanwhile, otherwise)
        for shares, (attention, tokens, made) in zip(told, entered, strict=True):
            assert shares.std(dim=-1).mean() > 0.3 / tokens.shape[1]
            torch.testing.assert_close(shares.sum(dim=-1), torch.ones(tokens.shape[:2]))
            alone = attention(tokens.flatten(0, 1)[:, None])
            values = (alone[0] if isinstance(alone, tuple) else alone).view(tokens.shape)
            torch.testing.assert_close(shares @ values, made, rtol=1e-4, atol=1e-4)


def shares_of_the_embedding(running, crop) -> np.ndarray:
    """How much of the embedding each of the final tokens is, by what changes when it does."""
    import torch

    def put(tokens):
        return tokens.detach().requires_grad_()

    def run():
        embedding = running.library.embed(running.model, running.normalise(torch.from_numpy(crop[None])))
        signs = torch.ones_like(embedding)
        signs[:, ::2] = -1  # a norm after the mean takes what is the same in all numbers away
        embedding.backward(signs)

    tokens = final_tokens(running.model, run, put)
    running.model.zero_grad()
    found = tokens.grad[0].abs().sum(dim=-1).double().numpy()
    return found / found.sum()


def test_rollout_is_the_product_of_all_blocks_from_where_the_embedding_is_taken(sharp, crops) -> None:
    """As its authors write it, with whole matrices."""
    import torch

    running, layout = sharp.running, layout_of(sharp.running)
    with torch.inference_mode():
        told = [each[0].numpy() for each in layout.attentions(running.normalise(torch.from_numpy(crops[:1])))]
    one = np.eye(len(told[0]))
    rolled = np.linalg.multi_dot([(each + one) / 2 for each in reversed(told)])[:, -(layout.side**2) :]
    expected = shares_of_the_embedding(running, crops[0]) @ rolled
    np.testing.assert_allclose(attention_rollout(running, crops[:1])[0].ravel(), expected, rtol=1e-4)


def test_rollout_of_even_attention_is_even(sharp, crops) -> None:
    """Attention that is the same everywhere leaves every patch the same share."""
    import torch

    running = sharp.running
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


@pytest.mark.parametrize("left_out", [(0, 1, 2), (1,)])
def test_a_model_that_leaves_blocks_out_has_no_rollout(dinov2, crops, monkeypatch, left_out) -> None:
    def telling(*given, **how):
        return [None if n in left_out else each for n, each in enumerate(run_model(*given, **how))]

    run_model = transformers_tokens.run_model
    monkeypatch.setattr(transformers_tokens, "run_model", telling)
    with pytest.raises(EncoderError, match=f"tells the attention of {3 - len(left_out)} of its 3 blocks"):
        attention_rollout(dinov2.running, crops)


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


UNFOLLOWED = {
    "map": {"global_pool": "map"},
    "prr": {"global_pool": "prr"},
    "max": {"global_pool": "max"},
    "avgmax": {"global_pool": "avgmax"},
    "avg of prefix tokens as well": {"global_pool": "avg", "pool_include_prefix": True},
    "DiffAttention": {"attn_layer": "diff"},
}


@pytest.mark.parametrize("said", UNFOLLOWED)
def test_what_attention_is_not_followed_through_has_grad_cam_alone(said, tmp_path, crops, rng) -> None:
    import timm

    sizes = SMALL | {"img_size": SIDE_PX, "patch_size": 14}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes, **UNFOLLOWED[said])
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    running = loaded("timm", tmp_path).running
    with pytest.raises(EncoderError, match=rf"timm:tiny .*\({said}\)"):
        attention_rollout(running, crops)
    assert token_grad_cam(running, crops, rng.standard_normal((5, running.dim))).max() > 0
