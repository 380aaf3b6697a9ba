"""The dataset room: finding images, masks, labels, splits and groups; reading them; the colour filter."""

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
from featstore.dataset.pixels import MAX_PIXELS, decode_image, decode_mask, read_image, read_mask
from featstore.dataset.reasons import TRAINING_ONLY, Reason
from featstore.dataset.records import Dataset, ImageRecord

__all__ = [
    "MAX_PIXELS",
    "TRAINING_ONLY",
    "ColourLimits",
    "ColourShares",
    "Dataset",
    "ImageRecord",
    "LabelRow",
    "LabelTable",
    "Reason",
    "bytes_digest",
    "colour_pixels",
    "colour_shares",
    "contamination",
    "contamination_note",
    "decode_image",
    "decode_mask",
    "file_digest",
    "find_dataset",
    "join_spellings",
    "read_bytes",
    "read_image",
    "read_label_csv",
    "read_mask",
]
