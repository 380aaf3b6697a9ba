"""What is to be computed: the images of the data against what is stored already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from featstore.dataset import Dataset, ImageRecord, Reason, file_digest
from featstore.errors import ImageError, SettingError
from featstore.extract.sink import EmbeddingSink, Known

__all__ = ["ExtractionPlan", "ImageJob", "Repeats", "Shard", "plan_extraction"]

_HASHING_THREADS = 8
_LABEL_REASONS = (Reason.NO_LABEL, Reason.LABEL_CONFLICT)


@dataclass(frozen=True)
class Repeats:
    """How many augmented repeats each split gets beside the clean crop.

    Attributes
    ----------
    train, test : int
        0 for the clean crop alone.
    """

    train: int = 0
    test: int = 0

    def __post_init__(self) -> None:
        if min(self.train, self.test) < 0:
            raise SettingError(f"{min(self.train, self.test)} repeats", expected="0 or more")

    def wanted(self, split: str) -> range:
        """Repeats for an image of a split, the clean one first."""
        return range((self.train if split == "train" else self.test) + 1)


@dataclass(frozen=True)
class Shard:
    """One of several parts of the images, for one of as many machines.

    Attributes
    ----------
    number : int
        From 1.
    of : int
    """

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise SettingError(f"shard {self.number} of {self.of}", expected="1/N to N/N")

    def records(self, dataset: Dataset) -> tuple[ImageRecord, ...]:
        """Take every so-manieth image by name; the parts are of one size, and together they are all images."""
        chosen = {record.image for record in sorted(dataset.records, key=lambda r: r.image)[self.number - 1 :: self.of]}
        return tuple(record for record in dataset.records if record.image in chosen)


@dataclass(frozen=True)
class ImageJob:
    """One image with something left to compute.

    Attributes
    ----------
    record : ImageRecord
    split : str
        The one in force: that of the data, unless it was changed in the store.
    sha256, mask_sha256 : str
    repeats : tuple of int
        Repeats to make of each blob.
    stored : frozenset of (int, int)
        The (blob, repeat) pairs that are there already.
    """

    record: ImageRecord
    split: str
    sha256: str
    mask_sha256: str
    repeats: tuple[int, ...]
    stored: frozenset[tuple[int, int]]

    def missing(self, blob: int) -> list[int]:
        """List the repeats of a blob that are not stored yet."""
        return [repeat for repeat in self.repeats if (blob, repeat) not in self.stored]


@dataclass(frozen=True)
class ExtractionPlan:
    """Jobs to do, and rows of images that need nothing (done, or left out) as (record, facts)."""

    jobs: tuple[ImageJob, ...]
    settled: tuple[tuple[ImageRecord, dict[str, Any]], ...]


def plan_extraction(
    records: Iterable[ImageRecord], sink: EmbeddingSink, repeats: Repeats, check: Callable[[], None] = lambda: None
) -> ExtractionPlan:
    """Compare images with what is stored, by content; ``check`` is called for each, and raises to end it.

    An image whose file and mask are unchanged, and of which every wanted (blob, repeat) is stored, needs nothing;
    neither does one that was left out for a reason that its content alone decides.
    """
    jobs: list[ImageJob] = []
    settled: list[tuple[ImageRecord, dict[str, Any]]] = []
    with closing(_identified(records)) as identified:
        for record, identity, error in identified:
            check()
            if error:
                settled.append((record, _left_out(record, identity, error, sink.images.get(record.image))))
            elif known := _settled(record, identity, sink, repeats):
                settled.append((record, _kept(known)))
            else:
                jobs.append(_job(record, identity, sink, repeats))
    return ExtractionPlan(tuple(jobs), tuple(settled))


def _settled(record: ImageRecord, identity: tuple[str, str], sink: EmbeddingSink, repeats: Repeats) -> Known | None:
    """Return what is known of an image that needs nothing."""
    known = sink.images.get(record.image)
    if known and known.identity == identity:
        return known if _done(record.image, split_in_force(record, known), known, sink, repeats) else None
    return None


def _job(record: ImageRecord, identity: tuple[str, str], sink: EmbeddingSink, repeats: Repeats) -> ImageJob:
    split = split_in_force(record, sink.images.get(record.image))
    there = frozenset(sink.stored(record.image, identity))
    return ImageJob(record, split, *identity, tuple(repeats.wanted(split)), there)


def record_facts(record: ImageRecord) -> dict[str, Any]:
    """Tell what the data say of an image, whatever its content."""
    given = json.dumps([record.label, record.split, record.group])
    return {
        "sample_index": record.sample_index,
        "position": record.position,
        "split": record.split,
        "label": record.label,
        "group": record.group,
        "given": hashlib.sha256(given.encode()).hexdigest()[:16],
    }


def _left_out(record: ImageRecord, identity: tuple[str, str], error: ImageError, known: Known | None) -> dict[str, Any]:
    """Tell that an image is left out, and why; by which resolution it was cut is not forgotten."""
    facts = {"reason": str(error.reason), "note": note_without_folders(str(error), record)}
    return {**facts, "sha256": identity[0], "mask_sha256": identity[1], "mpp": known.mpp if known else ""}


def note_without_folders(note: str, record: ImageRecord) -> str:
    """Name files by their names alone: a store may move to where those folders mean nothing."""
    for path in (record.path, record.mask_path):
        note = note.replace(str(path), path.name) if path else note
    return note


def _kept(known: Known) -> dict[str, Any]:
    sha256, mask_sha256 = known.identity
    facts = {
        name: getattr(known, name) for name in ("source", "blobs", "reason", "note", "artefact", "mask", "look", "mpp")
    }
    return {**facts, "sha256": sha256, "mask_sha256": mask_sha256}


def split_in_force(record: ImageRecord, known: Known | None) -> str:
    """Tell an image's split: that of the data, unless it was changed in the store since the data last said it."""
    return known.split if known and known.given == record_facts(record)["given"] else record.split


def _done(image: str, split: str, known: Known, sink: EmbeddingSink, repeats: Repeats) -> bool:
    if known.reason == Reason.FAILED:
        return False
    if known.reason or (known.artefact and split == "train"):
        return True
    wanted = {(blob, repeat) for blob in range(known.blobs) for repeat in repeats.wanted(split)}
    return bool(wanted) and wanted <= sink.stored(image, known.identity)


def _identified(
    records: Iterable[ImageRecord],
) -> Generator[tuple[ImageRecord, tuple[str, str], ImageError | None]]:
    """Hash every image and mask, several at a time: hashing leaves Python's lock.

    An image without a usable label is extracted all the same: a label can come later, and then costs nothing.
    """

    def identify(record: ImageRecord) -> tuple[ImageRecord, tuple[str, str], ImageError | None]:
        if record.reason and record.reason not in _LABEL_REASONS:
            return record, ("", ""), ImageError(record.note, reason=record.reason)
        try:
            image = file_digest(record.path)
        except ImageError as error:
            return record, ("", ""), error
        try:
            return record, (image, file_digest(record.mask_path) if record.mask_path else ""), None
        except ImageError as error:
            return record, (image, ""), ImageError(str(error), reason=Reason.MASK_UNREADABLE)

    pool = ThreadPoolExecutor(_HASHING_THREADS)
    try:
        yield from pool.map(identify, records)
    finally:
        pool.shutdown(cancel_futures=True)
