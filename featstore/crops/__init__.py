"""Mask to blobs, blob to square crop, crop to augmented crop."""

from featstore.crops.blobs import Blob, Blobs, BlobSource, Box, find_blobs
from featstore.crops.cut import cut_crop, fill_colour
from featstore.crops.draws import Draws, draw
from featstore.crops.places import Place, cut_place, find_places
from featstore.crops.repeat import augment, bring_to_working_size
from featstore.crops.stains import STAINS_KEPT, normalise_stains

__all__ = [
    "Blob",
    "BlobSource",
    "Blobs",
    "Box",
    "Draws",
    "Place",
    "STAINS_KEPT",
    "augment",
    "bring_to_working_size",
    "cut_crop",
    "cut_place",
    "draw",
    "fill_colour",
    "find_blobs",
    "find_places",
    "normalise_stains",
]
