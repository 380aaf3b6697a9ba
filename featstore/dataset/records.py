"""What is known of a dataset before a pixel is read: a row an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Dataset", "ImageRecord", "listing", "make_dataset", "plural"]

NAMES_SHOWN = 5


@dataclass(frozen=True)
class ImageRecord:
    """One image: where it is, and what is known of it.

    Attributes
    ----------
    image : str
        The key: POSIX path relative to the dataset's root (``train_data/img_0000.png``), unique in the dataset.
    sample_index : str
        The name that predictions carry: the file name in the challenge layout, the cell as written in a CSV, the
        relative path in a folder.
    position : int
        Place in the input, from 0.
    path : Path
        The file.
    mask_path : Path or None
        Its mask, if it has one.
    label : str
        Its class; empty when there is none.
    split : str
        ``train`` or ``test``.
    group : str
        Patient or slide; empty when unknown.
    mpp : float or None
        Micrometres a pixel, when known.
    reason : str
        A `Reason` that was found while listing; empty when there is none.
    note : str
        What is worth knowing about the image, in words.
    """

    image: str
    sample_index: str
    position: int
    path: Path
    mask_path: Path | None
    label: str
    split: str
    group: str
    mpp: float | None
    reason: str
    note: str


@dataclass(frozen=True)
class Dataset:
    """The images found at a place.

    Attributes
    ----------
    root : Path
        The folder that keys are relative to.
    layout : str
        ``challenge``, ``csv`` or ``folder``.
    records : tuple of ImageRecord
        Every image in input order, also those that can't be used (their ``reason`` says why).
    classes : tuple of str
        The labels that occur, sorted.
    warnings : tuple of str
        What the user should know, a sentence each.
    """

    root: Path
    layout: str
    records: tuple[ImageRecord, ...]
    classes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its files are, and so where nothing else is written, which might be taken for one of them.

        Of a folder that is the root, with all below it; of a CSV, the folders of the images and masks that it names.
        """
        paths = (path for record in self.records for path in (record.path, record.mask_path) if path is not None)
        root = set() if self.layout == "csv" else {self.root}
        return tuple(sorted({path.parent for path in paths} | root))


def make_dataset(root: Path, layout: str, records: Sequence[ImageRecord], warnings: Iterable[str]) -> Dataset:
    """Make a dataset of records: number them, note masks that are missing among others, list the classes."""
    numbered = [replace(record, position=position) for position, record in enumerate(records)]
    noted, more = _note_missing_masks(numbered)
    classes = sorted({record.label for record in noted if record.label})
    return Dataset(root, layout, tuple(noted), tuple(classes), (*warnings, *more))


def listing(names: Sequence[str]) -> str:
    """Name the first few of many: ``a, b, c and 7 more``."""
    more = len(names) - NAMES_SHOWN
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def plural(count: int, word: str) -> str:
    """Write ``1 image`` or ``2 images``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _without_mask(record: ImageRecord) -> ImageRecord:
    return replace(record, note="; ".join(part for part in (record.note, "it has no mask") if part))


def _note_missing_masks(records: list[ImageRecord]) -> tuple[list[ImageRecord], list[str]]:
    lacking = [record.image for record in records if record.mask_path is None]
    if not lacking or len(lacking) == len(records):
        return records, []
    noted = [record if record.mask_path or "mask" in record.note else _without_mask(record) for record in records]
    found = f"{len(lacking)} of {plural(len(records), 'image')} without a mask: {listing(lacking)}"
    return noted, [f"{found}; there the tissue is found on the image itself"]
