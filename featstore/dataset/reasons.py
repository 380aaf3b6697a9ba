"""Why an image is left out: the codes that stand on its row."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["TRAINING_ONLY", "Reason"]


class Reason(StrEnum):
    """Short code of what keeps an image out; the record's note says it in words."""

    MISSING = "missing"
    """A table names the file, and it is not there."""
    DUPLICATE_NAME = "duplicate_name"
    """Another image of the same folder has this name, or differs from it only by case."""
    UNREADABLE = "unreadable"
    """Not a whole image: empty, cut short, damaged, no image at all, or no permission to read it."""
    TOO_LARGE = "too_large"
    """More pixels than fit into memory with any safety."""
    MASK_UNREADABLE = "mask_unreadable"
    """The same for its mask."""
    MASK_SIZE = "mask_size"
    """The mask is of another size than the image."""
    NO_BLOB = "no_blob"
    """Neither in the mask nor on the image is there anything to crop."""
    FAILED = "failed"
    """Something went wrong with it on the way to its embeddings; the next run tries again."""
    NO_LABEL = "no_label"
    """A training image without a label."""
    LABEL_CONFLICT = "label_conflict"
    """Labelled more than once, and not the same."""
    CONTAMINATED_GREEN = "contaminated_green"
    """Too much of the tissue is green."""
    CONTAMINATED_BROWN = "contaminated_brown"
    """Too much of the tissue is brown."""
    CONTAMINATED_YELLOW = "contaminated_yellow"
    """Too much of the tissue is yellow."""
    CONTAMINATED_INK = "contaminated_ink"
    """Too much of the tissue is under pen ink."""
    CONTAMINATED_TEXTURE = "contaminated_texture"
    """The tissue's texture was replaced."""


TRAINING_ONLY = frozenset(
    {
        Reason.NO_LABEL,
        Reason.LABEL_CONFLICT,
        Reason.CONTAMINATED_GREEN,
        Reason.CONTAMINATED_BROWN,
        Reason.CONTAMINATED_YELLOW,
        Reason.CONTAMINATED_INK,
        Reason.CONTAMINATED_TEXTURE,
    }
)
"""Reasons that only keep an image out of training: its pixels can be read, and a test image keeps its prediction."""
