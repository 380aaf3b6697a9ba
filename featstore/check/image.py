"""One image and its mask, opened and measured."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.crops import Blobs, find_blobs
from featstore.dataset import (
    ImageRecord,
    Limits,
    MaskQuality,
    Reason,
    contaminant,
    decode_image,
    decode_mask,
    perceptual_hash,
    read_bytes,
)
from featstore.dataset.artefact_check import Artefact, find_artefacts
from featstore.dataset.containers import read_header
from featstore.errors import ImageError
from featstore.recipe import CropSettings

__all__ = ["Examined", "Opened", "examine", "open_image"]

Pixels = NDArray[np.uint8]


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
            for reason in self.mask.reasons:
                found[f"mask_{reason}"] = f"score {self.mask.score:.2f}"
        if self.source in ("whole_mask", "whole_image"):
            found[self.source] = "no blob is large enough"
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
            "size": [self.width_px, self.height_px],
            "source": self.source,
            "blobs": self.blobs,
            "mask": None if self.mask is None else self.mask.to_dict(),
            "artefacts": {kind: {"measure": found[0], "limit": found[1]} for kind, found in self.artefacts.items()},
            "suspect": self.suspect,
        }


def examine(record: ImageRecord, settings: CropSettings | None = None) -> Examined:
    """Open an image and its mask, and measure both. One that can't be opened has its reason.

    Parameters
    ----------
    record : ImageRecord
    settings : CropSettings, optional

    Returns
    -------
    Examined
    """
    settings, known = settings or CropSettings(), Examined(record)
    try:
        data = read_bytes(record.path)
        header = read_header(data)
        known = replace(known, kind=header.kind if header else "", sha256=hashlib.sha256(data).hexdigest())
        image = decode_image(data, record.path)
        known = replace(known, height_px=image.shape[0], width_px=image.shape[1], look=perceptual_hash(image))
        mask = None
        if record.mask_path is not None:
            data = read_bytes(record.mask_path, reason=Reason.MASK_UNREADABLE)
            mask = decode_mask(data, record.mask_path, shape=image.shape[:2])
            known = replace(known, mask_sha256=hashlib.sha256(data).hexdigest())
        opened = look_at(image, mask, settings)
    except ImageError as error:
        return replace(known, reason=record.reason or str(error.reason), note=str(error))
    return _with(known, opened, settings)


def open_image(record: ImageRecord, settings: CropSettings) -> Opened:
    """Open an image again for its pixels.

    Raises
    ------
    ImageError
        If it can't be opened any more.
    """
    image = decode_image(read_bytes(record.path), record.path)
    mask = None
    if record.mask_path is not None:
        data = read_bytes(record.mask_path, reason=Reason.MASK_UNREADABLE)
        mask = decode_mask(data, record.mask_path, shape=image.shape[:2])
    return look_at(image, mask, settings)


def look_at(image: Pixels, mask: Pixels | None, settings: CropSettings) -> Opened:
    """Find blobs and artefacts; an image without a blob has artefacts alone."""
    try:
        blobs: Blobs | None = find_blobs(image, mask, settings)
    except ImageError:
        blobs = None
    tissue = blobs.tissue if blobs is not None else None
    return Opened(image, mask, blobs, find_artefacts(image, tissue, Limits.of(settings.limits).artefacts))


def _with(known: Examined, opened: Opened, settings: CropSettings) -> Examined:
    record, blobs = known.record, opened.blobs
    reason, note = record.reason, record.note if record.reason else ""
    if not reason and blobs is None:
        reason, note = str(Reason.NO_BLOB), "neither the mask nor the image shows anything to crop"
    if not reason and blobs is not None and record.split == "train" and settings.artefacts != "keep":
        found, why = contaminant(opened.artefacts, blobs.tissue, Limits.of(settings.limits).artefacts)
        reason, note = str(found or ""), why
    return replace(
        known,
        reason=reason,
        note=note,
        source=blobs.source if blobs else "",
        blobs=len(blobs.blobs) if blobs else 0,
        mask=blobs.quality if blobs else None,
        mask_says=blobs.mask if blobs else "",
        artefacts={found.kind: (float(found.measure), float(found.limit)) for found in opened.artefacts},
        over={found.kind: found.note for found in opened.artefacts if found.over},
    )
