"""Classical descriptors of stain, texture and nuclei: the encoder that needs no weights."""

from featstore.encoders.stain_texture.encoder import StainTexture

__all__ = ["StainTexture"]
