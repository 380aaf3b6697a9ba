"""What a check of a dataset found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featstore.check.image import Examined
from featstore.dataset import Dataset
from featstore.recipe import CropSettings

__all__ = ["Findings", "Twins"]


_UNRELATED = "it fits far worse than the other masks do: is it another image's?"


@dataclass(frozen=True)
class Twins:
    """Images that belong together, whatever folds are made.

    Attributes
    ----------
    by : str
        ``file`` (the same bytes), ``look`` (nearly the same picture), ``mask`` (the same mask) or ``group`` (the same
        patient or slide; told only where it is trained on and tested).
    images : tuple of str
        Two or more, in order.
    labels : tuple of str
        Those that they carry, each once.
    splits : tuple of str
    group : str
        Its name, of those by group.
    """

    by: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    group: str = ""

    @property
    def conflicting(self) -> bool:
        """Whether they carry more than one label, which images of a patient may."""
        return len(self.labels) > 1 and self.by != "group"

    @property
    def overlapping(self) -> bool:
        """Whether some are trained on and others tested."""
        return len(self.splits) > 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain types."""
        return {
            "by": self.by,
            "images": list(self.images),
            "labels": list(self.labels),
            "splits": list(self.splits),
            "group": self.group,
            "conflicting": self.conflicting,
            "overlapping": self.overlapping,
        }


@dataclass(frozen=True)
class Findings:
    """All that was found.

    Attributes
    ----------
    dataset : Dataset
    images : tuple of Examined
        In the order of the input.
    twins : tuple of Twins
    unrelated : mapping of str to float
        Masks that fit their images far worse than those of the dataset do, with the fit of each: they may belong to
        others.
    settings : CropSettings
        What images and masks were measured by.
    """

    dataset: Dataset
    images: Sequence[Examined]
    twins: Sequence[Twins]
    unrelated: Mapping[str, float] = field(default_factory=dict)
    settings: CropSettings = field(default_factory=CropSettings)

    @property
    def rejected(self) -> list[dict[str, str]]:
        """Images that an extraction leaves out."""
        return [
            {"image": found.record.image, "reason": found.reason, "note": found.note}
            for found in self.images
            if found.reason
        ]

    @property
    def suspects(self) -> list[dict[str, Any]]:
        """Images to look at, and why: a row for each kind."""
        rows = [
            {"image": found.record.image, "kind": kind, "why": why}
            for found in self.images
            for kind, why in found.suspect.items()
        ]
        return rows + [
            {"image": image, "kind": "mask_unrelated", "why": f"{_UNRELATED} (fit {fit:.2f})"}
            for image, fit in self.unrelated.items()
        ]

    @property
    def modes(self) -> Counter[tuple[str, int]]:
        """Number of images by how their files store colours: mode, and bits a channel."""
        return Counter((found.mode, found.bits) for found in self.images if found.mode)

    @property
    def sources(self) -> Counter[str]:
        """Number of images by the step of the ladder that an extraction finds their blobs on."""
        return Counter(found.source for found in self.images if found.source)

    @property
    def resolutions(self) -> list[float]:
        """Micrometres a pixel of the images of which they are known, rising."""
        return sorted(found.record.mpp for found in self.images if found.record.mpp is not None)

    @property
    def labels(self) -> dict[str, dict[str, int]]:
        """Number of images of each label by split; images without one count under an empty text."""
        counted: dict[str, dict[str, int]] = {}
        for found in self.images:
            row = counted.setdefault(found.record.label, {"train": 0, "test": 0})
            row[found.record.split] += 1
        return dict(sorted(counted.items()))

    @property
    def imbalance(self) -> float | None:
        """The largest class over the smallest among labelled training images; None with fewer than two classes."""
        counts = Counter(found.record.label for found in self.images if found.record.split == "train")
        counts.pop("", None)
        return max(counts.values()) / min(counts.values()) if len(counts) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain types."""
        return {
            "images": [found.to_dict() for found in self.images],
            "rejected": self.rejected,
            "suspects": self.suspects,
            "twins": [twins.to_dict() for twins in self.twins],
            "modes": [{"mode": mode, "bits": bits, "images": count} for (mode, bits), count in self.modes.items()],
            "sources": dict(self.sources),
            "mpp": [resolutions[0], resolutions[-1]] if (resolutions := self.resolutions) else None,
            "labels": self.labels,
            "imbalance": self.imbalance,
            "warnings": list(self.dataset.warnings),
        }
