"""One image and its mask, opened and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.crops import Blobs, find_blobs
from featstore.dataset import (
    Artefact,
    ImageRecord,
    Limits,
    MaskQuality,
    Reason,
    bytes_digest,
    contaminant,
    decode_image,
    decode_mask,
    find_artefacts,
    perceptual_hash,
    read_bytes,
)
from featstore.dataset.containers import read_header
from featstore.dataset.modes import read_mode
from featstore.errors import FeatstoreError, ImageError
from featstore.extract.plan import note_without_folders
from featstore.recipe import CropSettings

__all__ = ["Examined", "Opened", "examine", "left_out", "look_at"]

Pixels = NDArray[np.uint8]

WRONG_MASKS = {
    "empty": "it marks next to nothing",
    "inverted": "it marks what is pale",
    "misplaced": "it fits another place better",
    "off_tissue": "it lies off the tissue",
    "noisy": "it is full of specks and holes",
}
TAKEN_WHOLE = {
    "whole_mask": "no blob of the mask is large enough",
    "whole_image": "no tissue was found, or none that is large enough",
}


@dataclass(frozen=True, eq=False)
class Opened:
    """Pixels of an image, and what was found on them."""

    image: Pixels
    mask: Pixels | None
    blobs: Blobs | None
    artefacts: tuple[Artefact, ...]


@dataclass(frozen=True)
class Examined:
    """What is known of one image after it was opened.

    Attributes
    ----------
    record : ImageRecord
    reason, note : str
        Why an extraction leaves it out, or can't use it for training, as a code and in words; both empty where it is
        used.
    kind : str
        Of file: ``PNG``, ``JPEG`` and so on.
    mode : str
        How colours are stored: ``grey``, ``RGB`` and so on, see `featstore.dataset.modes.read_mode`.
    bits : int
        Of a channel.
    height_px, width_px : int
        0 where it can't be opened.
    sha256, mask_sha256 : str
        Of the files.
    look : str
        Its perceptual hash.
    source : str
        Where an extraction finds its blobs; see `featstore.crops.find_blobs`.
    blobs : int
        How many there are.
    mask : MaskQuality or None
    mask_says : str
        What was found of it, as an image table tells it.
    artefacts : mapping of str to (float, float)
        Measure and limit of each kind.
    over : mapping of str to str
        Kinds that are over their limit, and that in words.
    """

    record: ImageRecord
    reason: str = ""
    note: str = ""
    kind: str = ""
    mode: str = ""
    bits: int = 0
    height_px: int = 0
    width_px: int = 0
    sha256: str = ""
    mask_sha256: str = ""
    look: str = ""
    source: str = ""
    blobs: int = 0
    mask: MaskQuality | None = None
    mask_says: str = ""
    artefacts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    over: Mapping[str, str] = field(default_factory=dict)

    @property
    def suspect(self) -> dict[str, str]:
        """What to look at, by kind, in words: artefacts over their limits, and what is wrong with the mask."""
        found = dict(self.over)
        if self.mask is not None:
            found |= {f"mask_{reason}": _said_of_mask(reason, self.mask) for reason in self.mask.reasons}
        if self.source in TAKEN_WHOLE:
            found[self.source] = TAKEN_WHOLE[self.source]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain types."""
        return {
            "image": self.record.image,
            "split": self.record.split,
            "label": self.record.label,
            "group": self.record.group,
            "mpp": self.record.mpp,
            "reason": self.reason,
            "note": self.note,
            "kind": self.kind,
            "mode": self.mode,
            "bits": self.bits,
            "size": [self.width_px, self.height_px],
            "source": self.source,
            "blobs": self.blobs,
            "mask": None if self.mask is None else self.mask.to_dict(),
            "artefacts": {kind: {"measure": found[0], "limit": found[1]} for kind, found in self.artefacts.items()},
            "suspect": self.suspect,
        }


def _said_of_mask(reason: str, mask: MaskQuality) -> str:
    remedy = "" if reason == "empty" else "; --masks given takes it as it is"
    return f"{WRONG_MASKS.get(reason, reason)} (score {mask.score:.2f}){remedy}"


def examine(record: ImageRecord, settings: CropSettings | None = None) -> Examined:
    """Open an image and its mask, and measure both. One at which that fails, in whatever way, has its reason.

    Parameters
    ----------
    record : ImageRecord
    settings : CropSettings, optional

    Returns
    -------
    Examined
    """
    known: dict[str, Any] = {}
    try:
        _measure(record, settings or CropSettings(), known)
    except Exception as error:  # noqa: BLE001 - one image must not end the check of all others
        reason = error.reason if isinstance(error, ImageError) else Reason.FAILED
        said = str(error) if isinstance(error, FeatstoreError) else f"{type(error).__name__}: {error}"
        known |= {"reason": record.reason or str(reason), "note": note_without_folders(said, record)}
    return Examined(record, **known)


def _measure(record: ImageRecord, settings: CropSettings, known: dict[str, Any]) -> None:
    """Measure an image and its mask, and note each figure as soon as it is known."""
    data = read_bytes(record.path)
    known["sha256"] = bytes_digest(data)
    if header := read_header(data):
        known["kind"] = header.kind
        known["mode"], known["bits"] = read_mode(data, header.kind)
    image, mask = decode_image(data, record.path), None
    known["height_px"], known["width_px"] = image.shape[:2]
    known["look"] = perceptual_hash(image)
    if record.mask_path is not None:
        data = read_bytes(record.mask_path, reason=Reason.MASK_UNREADABLE)
        mask = decode_mask(data, record.mask_path, shape=image.shape[:2])
        known["mask_sha256"] = bytes_digest(data)
    opened = look_at(image, mask, settings)
    if opened.blobs is not None:
        known["source"], known["blobs"] = opened.blobs.source, len(opened.blobs.blobs)
        known["mask"], known["mask_says"] = opened.blobs.quality, opened.blobs.mask
    elif mask is not None and not mask.any():
        known["mask"] = MaskQuality(reasons=("empty",))
    known["artefacts"] = {found.kind: (float(found.measure), float(found.limit)) for found in opened.artefacts}
    known["over"] = {found.kind: found.note for found in opened.artefacts if found.over}
    known["reason"], known["note"] = left_out(record, opened.blobs, opened.artefacts, settings)


def look_at(image: Pixels, mask: Pixels | None, settings: CropSettings) -> Opened:
    """Find blobs and artefacts; an image without a blob has artefacts alone."""
    try:
        blobs: Blobs | None = find_blobs(image, mask, settings)
    except ImageError:
        blobs = None
    tissue = blobs.tissue if blobs is not None else None
    return Opened(image, mask, blobs, find_artefacts(image, tissue, Limits.of(settings.limits).artefacts))


def left_out(
    record: ImageRecord, blobs: Blobs | None, artefacts: Sequence[Artefact], settings: CropSettings
) -> tuple[str, str]:
    """Tell why an extraction leaves an image out, or trains on it not; as a code and in words, empty where it does."""
    if record.reason:
        return record.reason, record.note
    if blobs is None:
        return str(Reason.NO_BLOB), "neither the mask nor the image shows anything to crop"
    if record.split != "train" or settings.artefacts == "keep":
        return "", ""
    found, why = contaminant(artefacts, blobs.tissue, Limits.of(settings.limits).artefacts)
    return str(found or ""), why
