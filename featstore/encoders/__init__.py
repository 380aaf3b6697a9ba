"""Crops to embeddings: frozen models by name, and ``stain-texture``, the built-in one that needs no weights."""

from featstore.encoders.base import Encoder
from featstore.encoders.device import limit_threads, use_threads
from featstore.encoders.examine import examine
from featstore.encoders.model import ModelEncoder, own_devices
from featstore.encoders.queue import EncodeQueue, encode_queue
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
    "EncodeQueue",
    "Encoder",
    "ModelEncoder",
    "StainTexture",
    "encode_queue",
    "encoder_names",
    "encoder_state",
    "examine",
    "limit_threads",
    "load_encoder",
    "own_devices",
    "use_threads",
    "weights_present",
]
