"""Crops to embeddings: frozen models by name, and ``stain-texture``, the built-in one that needs no weights."""

from featstore.encoders.base import Encoder
from featstore.encoders.examine import examine
from featstore.encoders.huggingface import HuggingFaceEncoder
from featstore.encoders.registry import (
    DEFAULT_ENCODER,
    encoder_names,
    encoder_state,
    load_encoder,
    weights_present,
)
from featstore.encoders.stain_texture import StainTexture

__all__ = [
    "DEFAULT_ENCODER",
    "Encoder",
    "HuggingFaceEncoder",
    "StainTexture",
    "encoder_names",
    "encoder_state",
    "examine",
    "load_encoder",
    "weights_present",
]
