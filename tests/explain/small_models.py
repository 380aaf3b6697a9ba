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
    "timm-registers": ("vit_tiny_patch16_224", {"reg_tokens": 3, "dynamic_img_size": True}),
    "timm-cls-and-mean": ("vit_tiny_patch16_224", {"reg_tokens": 2, "global_pool": ""}),
    "timm-mean": ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}),
    "timm-pooling-attention": ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "map"}),
    "timm-eva02": ("eva02_tiny_patch14_224", {}),
    "timm-dinov3": ("vit_small_patch16_dinov3", {"global_pool": "token"}),
}
KINDS = [*TRANSFORMERS, *TIMM]
MEANS = ("timm-cls-and-mean", "timm-mean", "timm-eva02")
"""Those whose embedding is the mean of the patches' tokens, or has it in it."""


def saved(kind: str, folder: Path, patch_px: int = PATCH_PX) -> Path:
    """Save a model of three blocks and random weights, of a kind that the registry loads."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(3)
        return _save_timm(kind, folder, patch_px) if kind in TIMM else _save_transformers(kind, folder, patch_px)


def _save_transformers(kind: str, folder: Path, patch_px: int) -> Path:
    import transformers

    sizes = {"hidden_size": DIM, "num_hidden_layers": 3, "num_attention_heads": 2}
    config, model, more = TRANSFORMERS[kind]
    settings = getattr(transformers, config)(**sizes, image_size=SIDE_PX, patch_size=patch_px, **more)
    getattr(transformers, model)(settings).save_pretrained(folder)
    return folder


def _save_timm(kind: str, folder: Path, patch_px: int) -> Path:
    import timm

    architecture, more = TIMM[kind]
    sizes = {"embed_dim": DIM, "depth": 3, "num_heads": 2, "img_size": SIDE_PX, "patch_size": patch_px}
    model = timm.create_model(architecture, num_classes=0, **sizes, **more)
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return folder


def loaded(kind: str, folder: Path) -> ModelEncoder:
    """Load a model that was saved; its name is "tiny"."""
    name = "timm:tiny" if kind.startswith("timm") else "tiny"
    return load_encoder(name, weights=folder, device="cpu", precision="float32")
