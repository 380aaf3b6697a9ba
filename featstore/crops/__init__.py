"""Mask to blobs, blob to square crop, crop to augmented crop."""

from featstore.crops.blobs import Blob, Blobs, BlobSource, Box, find_blobs
from featstore.crops.cut import cut_crop, fill_colour
from featstore.crops.draws import Draws, draw
from featstore.crops.repeat import augment, bring_to_working_size

__all__ = [
    "Blob",
    "BlobSource",
    "Blobs",
    "Box",
    "Draws",
    "augment",
    "bring_to_working_size",
    "cut_crop",
    "draw",
    "fill_colour",
    "find_blobs",
]
