"""The dataset room: finding images, masks, labels, splits and groups; reading them; what is wrong with them."""

from featstore.dataset.artefact_check import Artefact, ArtefactLimits, artefacts_note, contaminant, find_artefacts
from featstore.dataset.artefacts import (
    ColourLimits,
    ColourShares,
    colour_pixels,
    colour_shares,
    contamination,
    contamination_note,
)
from featstore.dataset.files import bytes_digest, file_digest, read_bytes
from featstore.dataset.find import find_dataset
from featstore.dataset.labels import LabelRow, LabelTable, join_spellings, read_label_csv
from featstore.dataset.limits import Limits, read_limits
from featstore.dataset.mask_quality import MaskLimits, MaskQuality, clean_mask, measure_mask
from featstore.dataset.near import perceptual_hash
from featstore.dataset.pixels import MAX_PIXELS, decode_image, decode_mask, read_image, read_mask
from featstore.dataset.reasons import TRAINING_ONLY, Reason
from featstore.dataset.records import Dataset, ImageRecord
from featstore.dataset.subtract import enough_remains, subtract_artefacts
from featstore.dataset.tissue import find_tissue

__all__ = [
    "MAX_PIXELS",
    "TRAINING_ONLY",
    "Artefact",
    "ArtefactLimits",
    "ColourLimits",
    "ColourShares",
    "Dataset",
    "ImageRecord",
    "LabelRow",
    "LabelTable",
    "Limits",
    "MaskLimits",
    "MaskQuality",
    "Reason",
    "artefacts_note",
    "bytes_digest",
    "clean_mask",
    "contaminant",
    "colour_pixels",
    "colour_shares",
    "contamination",
    "contamination_note",
    "decode_image",
    "decode_mask",
    "enough_remains",
    "file_digest",
    "find_artefacts",
    "find_dataset",
    "find_tissue",
    "join_spellings",
    "measure_mask",
    "perceptual_hash",
    "read_bytes",
    "read_image",
    "read_label_csv",
    "read_limits",
    "read_mask",
    "subtract_artefacts",
]
