"""Small vision transformers of either library, saved as their owners would save them."""

from __future__ import annotations

from pathlib import Path

from featstore.encoders import ModelEncoder, load_encoder

SIDE_PX, PATCH_PX, DIM = 56, 7, 24

TRANSFORMERS = {
    "dinov2": ("Dinov2Config", "Dinov2Model", {}),
    "registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", {"num_register_tokens": 3}),
    "vit": ("ViTConfig", "ViTModel", {"intermediate_size": 48}),
    "deit": ("DeiTConfig", "DeiTModel", {"intermediate_size": 48}),
}
TIMM = {
    "timm-cls": ("vit_tiny_patch16_224", {"init_values": 1.0}),
    "timm-distilled": ("deit_tiny_distilled_patch16_224", {}),
    "timm-registers": ("vit_tiny_patch16_224", {"reg_tokens": 3, "dynamic_img_size": True}),
    "timm-cls-and-mean": ("vit_tiny_patch16_224", {"reg_tokens": 2, "global_pool": ""}),
    "timm-mean": ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}),
    "timm-pooling-attention": ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "map"}),
    "timm-eva02": ("eva02_tiny_patch14_224", {}),
    "timm-dinov3": ("vit_small_patch16_dinov3", {"global_pool": "token"}),
}
KINDS = [*TRANSFORMERS, *TIMM]
ROLLED = [kind for kind in KINDS if kind != "timm-pooling-attention"]
"""Those in which attention is followed from the embedding to the patches."""

MEANS = ("timm-cls-and-mean", "timm-mean", "timm-eva02")
"""Those whose embedding is the mean of the patches' tokens, or has it in it."""


def saved(kind: str, folder: Path, patch_px: int = PATCH_PX, heads: int = 2) -> Path:
    """Save a model of three blocks and random weights, of a kind that the registry loads."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(3)
        save = _save_timm if kind in TIMM else _save_transformers
        return save(kind, folder, patch_px, heads)


def _save_transformers(kind: str, folder: Path, patch_px: int, heads: int) -> Path:
    import transformers

    sizes = {"hidden_size": DIM, "num_hidden_layers": 3, "num_attention_heads": heads}
    config, model, more = TRANSFORMERS[kind]
    settings = getattr(transformers, config)(**sizes, image_size=SIDE_PX, patch_size=patch_px, **more)
    getattr(transformers, model)(settings).save_pretrained(folder)
    return folder


def _save_timm(kind: str, folder: Path, patch_px: int, heads: int) -> Path:
    import timm

    architecture, more = TIMM[kind]
    sizes = {"embed_dim": DIM, "depth": 3, "num_heads": heads, "img_size": SIDE_PX, "patch_size": patch_px}
    colours = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    model = timm.create_model(architecture, num_classes=0, pretrained_cfg_overlay=colours, **sizes, **more)
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return folder


def loaded(kind: str, folder: Path) -> ModelEncoder:
    """Load a model that was saved; its name is "tiny"."""
    name = "timm:tiny" if kind.startswith("timm") else "tiny"
    return load_encoder(name, weights=folder, device="cpu", precision="float32")


def hand_set(kind: str, folder: Path, *, looks: bool = True, reads: bool = True) -> Path:
    """Save a model whose embedding has the brightness of the patches in channel 0, and nothing else that changes.

    Two more channels of each token are a large constant: so the norms hardly touch brightness, and it is known what
    all tokens ask for. With ``looks`` all tokens ask for bright patches (not for rotated embeddings, which change what
    is found), else they attend to all alike. Without ``reads`` nothing of what they attend to is taken over.
    """
    from safetensors.torch import load_file, save_file

    file = saved(kind, folder) / "model.safetensors"
    tensors = {name: _by_hand(name, value, looks, reads) for name, value in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    return folder


_NORMAL = ("norm.weight", "norm1.weight", "norm2.weight", "norm_before.weight", "norm_after.weight")
_SCALES = ("lambda1", "gamma", "gamma_1", "gamma_2")
_CONSTANT = (
    "projection.bias",
    "patch_embed.proj.bias",
    "cls_token",
    "dist_token",
    "distillation_token",
    "reg_token",
    "register_tokens",
)
_TAKEN = (
    "value.weight",
    "v_proj.weight",
    "attention.output.dense.weight",
    "o_proj.weight",
    "attn.proj.weight",
    "pool.proj.weight",
)


def _by_hand(name: str, old, looks: bool, reads: bool):
    new = old * 0
    if name.endswith((*_NORMAL, *_SCALES)):
        return new + 1
    if name.endswith(_CONSTANT):
        new[..., 1], new[..., 2] = 10, -10
    elif old.ndim == 4:  # patches to tokens
        new[0] = 1 / old[0].numel()
    elif name.endswith(_TAKEN):
        new[0, 0] = reads
    elif name.endswith(("query.weight", "q_proj.weight")):
        new[0, 1] = 12 * looks
    elif name.endswith(("key.weight", "k_proj.weight")):
        new[0, 0] = looks
    elif name.endswith(("qkv.weight", "kv.weight")):  # one after the other
        new[0, 1], new[-2 * DIM, 0], new[-DIM, 0] = 12 * looks, looks, reads
    return new
