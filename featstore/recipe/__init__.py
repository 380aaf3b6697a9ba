"""What was computed: cropping, augmentation, encoder, seed; as canonical JSON, and its fingerprint.

A recipe holds *what* is computed and nothing of *how* (device, precision, batch size, workers, library versions):
two runs with one fingerprint may share a store, two with different ones never do.
"""

from featstore.canonical import canonical_json, differences, fingerprint, later
from featstore.recipe.crops import OBJECT, TILE, CropSettings
from featstore.recipe.repeats import AugmentationSettings
from featstore.recipe.stains import STAIN_REFERENCES, StainSettings
from featstore.recipe.whole import EncoderSettings, Recipe

__all__ = [
    "AugmentationSettings",
    "CropSettings",
    "EncoderSettings",
    "OBJECT",
    "Recipe",
    "STAIN_REFERENCES",
    "StainSettings",
    "TILE",
    "canonical_json",
    "differences",
    "fingerprint",
    "later",
]
