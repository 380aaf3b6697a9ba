"""The image table of a version: what is known of each image besides its embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args, get_type_hints

from featstore.errors import DataError, SettingError, StoreFormatError

__all__ = ["SPLITS", "ImageRow", "ImageTable", "check_row", "from_columns", "merged", "to_columns", "twin_groups"]


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image as a version sees it.

    Attributes
    ----------
    image : str
        The key: its path within the data, with forward slashes.
    sample_index : str
        What prediction files call it.
    position : int
        Its place in the order of the input.
    split : str
        ``train`` or ``test``.
    label, group : str
        Empty where there is none.
    sha256, mask_sha256 : str
        Digests of the files: rows in segments belong to the image only while they carry the same two.
    source : str
        Where the blobs came from: ``mask``, or the fallback that was taken.
    blobs : int
        Number of blobs.
    reason, note : str
        Why it can't be used (a short code), and in words; both empty when all is well.
    artefact : str
        What contaminates it (a short code): it keeps a training image out, and a test image never.
    given : str
        Digest of label, split and group as the data gave them at the last extraction: what was changed in the
        store since (``store label``) stays until the data themselves change.
    """

    image: str
    sample_index: str = ""
    position: int = 0
    split: str = "train"
    label: str = ""
    group: str = ""
    sha256: str = ""
    mask_sha256: str = ""
    source: str = ""
    blobs: int = 0
    reason: str = ""
    note: str = ""
    artefact: str = ""
    given: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Content of the image and of its mask."""
        return self.sha256, self.mask_sha256

    @property
    def left_out(self) -> str:
        """Why its embeddings don't count, empty when they do: a reason, or, in training, what contaminates it."""
        return self.reason or (self.artefact if self.split == "train" else "")


ImageTable = dict[str, ImageRow]

SPLITS = ("train", "test")

_TYPES: dict[str, type] = {
    name: (get_args(kind) or (kind,))[0]
    for name, kind in get_type_hints(ImageRow).items()
    if name in {f.name for f in fields(ImageRow)}
}


def to_columns(rows: Iterable[ImageRow]) -> dict[str, list[Any]]:
    """Write rows as columns, for JSON."""
    plain = [asdict(row) for row in rows]
    return {name: [row[name] for row in plain] for name in _TYPES}


def from_columns(columns: Mapping[str, Any], where: str) -> list[ImageRow]:
    """Read rows from columns; columns of later formats are ignored, absent ones take their default.

    Raises
    ------
    StoreFormatError
        If columns are not lists of one length and of the right types.
    """
    known = {name: values for name, values in columns.items() if name in _TYPES}
    if not all(isinstance(values, list) for values in known.values()):
        raise StoreFormatError(f"{where}: an image column is not a list")
    lengths = {len(values) for values in known.values()}
    if len(lengths) > 1 or (lengths and "image" not in known):
        raise StoreFormatError(f"{where}: image columns of {sorted(lengths)} rows", expected="columns of one length")
    for name, values in known.items():
        if not all(type(value) is _TYPES[name] for value in values):
            raise StoreFormatError(f"{where}: column {name!r} holds other than {_TYPES[name].__name__}")
    if not set(known.get("split", ())) <= set(SPLITS) or min(known.get("blobs", [0]), default=0) < 0:
        raise StoreFormatError(f"{where}: an image is in no known split, or has fewer than no blobs")
    names = list(known)
    return [ImageRow(**dict(zip(names, values, strict=True))) for values in zip(*known.values(), strict=True)]


def twin_groups(rows: Iterable[ImageRow]) -> dict[str, str]:
    """Name the group of each image: the same ``group``, the same file, or the same mask put images together.

    Twins like these must never straddle a fold. A mask counts only where blobs came from it: that two masks are
    empty says nothing about their images. A group takes the ``group``, or else the name, of its first image by name.
    """
    parent: dict[str, str] = {}
    ordered = sorted(rows, key=lambda row: row.image)

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    owner: dict[tuple[str, str], str] = {}
    for row in ordered:
        parent[row.image] = row.image
        mask = row.mask_sha256 if row.source in {"mask", "whole_mask"} else ""
        for trait in (("group", row.group), ("image", row.sha256), ("mask", mask)):
            if trait[1]:
                first, second = sorted((root(owner.setdefault(trait, row.image)), root(row.image)))
                parent[second] = first
    title = {row.image: row.group or row.image for row in ordered}
    return {name: title[root(name)] for name in parent}


def check_row(row: ImageRow) -> ImageRow:
    """Refuse a row that a reader would refuse, before it is written.

    Raises
    ------
    DataError
    """
    for name, kind in _TYPES.items():
        value = getattr(row, name)
        if type(value) is not kind:
            raise DataError(f"image {row.image!r}: {name} is {value!r}", expected=f"{name} as {kind.__name__}")
        if isinstance(value, str) and ("\0" in value or not _encodable(value)):
            raise DataError(f"image {row.image!r}: {name} holds what is no text")
    if row.split not in SPLITS:
        raise SettingError(f"image {row.image!r}: split is {row.split!r}", expected="train or test")
    return row


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def merged(old: ImageRow, new: ImageRow) -> ImageRow:
    """Keep the label, split and group of ``old`` where the data still say what they said when they were read."""
    if old.given and old.given == new.given:
        return replace(new, label=old.label, split=old.split, group=old.group)
    return new
