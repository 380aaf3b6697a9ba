"""The image table of a version: what is known of each image besides its embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_type_hints

from featstore.errors import DataError, SettingError
from featstore.store.looks import near_pairs

__all__ = ["SAY_NOTHING", "SPLITS", "ImageRow", "check_row", "merged", "twin_groups"]


SAY_NOTHING = ("empty", "whole")
"""Masks of which two images may have the same, and have nothing to do with each other."""


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
    mask : str
        What was found of its mask: ``good``, why it is poor, ``empty``, ``whole`` where it covers all of the image,
        ``given`` where it was not measured; empty where there is none, or it is not known.
    look : str
        Its perceptual hash, turned and mirrored in eight ways, 64 hexadecimal digits each; empty where it is not known.
    mpp : str
        Micrometres a pixel that its tiles were cut by; empty where that made no difference.
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
    mask: str = ""
    look: str = ""
    mpp: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Content of the image and of its mask."""
        return self.sha256, self.mask_sha256

    @property
    def telling_mask(self) -> str:
        """Digest of the mask if images that share it belong together; empty where it says nothing of its image.

        Many masks are empty, or cover all of the image. Where that is not known, the blobs came from a mask that does.
        """
        if self.mask:
            return "" if self.mask in SAY_NOTHING else self.mask_sha256
        return self.mask_sha256 if self.source in ("mask", "whole_mask", "mask_cleaned") else ""

    @property
    def left_out(self) -> str:
        """Why its embeddings don't count, empty when they do: a reason, or, in training, what contaminates it."""
        return self.reason or (self.artefact if self.split == "train" else "")


SPLITS = ("train", "test")

LONGEST_TEXT = 10_000
FIXED = ("image", "sample_index", "sha256", "mask_sha256")
"""Columns of fixed width: as wide as their longest text."""

LONGEST_FIXED_BYTES = 1024

_TYPES: dict[str, type[Any]] = {
    name: (get_args(kind) or (kind,))[0]
    for name, kind in get_type_hints(ImageRow).items()
    if name in {f.name for f in fields(ImageRow)}
}


def twin_groups(rows: Iterable[ImageRow]) -> dict[str, str]:
    """Name the group of each image: one ``group``, file or mask, or nearly the same look, put images together.

    Twins like these must never straddle a fold. A mask counts however poor it is, unless it is empty or covers all
    of the image, which says nothing. A group takes the ``group``, or else the name, of its first image by name.
    """
    parent: dict[str, str] = {}
    ordered = sorted(rows, key=lambda row: row.image)

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(one: str, other: str) -> None:
        first, second = sorted((root(one), root(other)))
        parent[second] = first

    owner: dict[tuple[str, str], str] = {}
    for row in ordered:
        parent[row.image] = row.image
        for trait in (("group", row.group), ("image", row.sha256), ("mask", row.telling_mask)):
            if trait[1]:
                join(owner.setdefault(trait, row.image), row.image)
    for one, other in near_pairs([row.look for row in ordered]):
        join(ordered[one].image, ordered[other].image)
    title = {row.image: row.group or row.image for row in ordered}
    return {name: title[root(name)] for name in parent}


def check_row(row: ImageRow) -> ImageRow:
    """Refuse a row that a reader would refuse, before it is written.

    Raises
    ------
    DataError
    """
    texts: list[str] = []
    for name, kind in _TYPES.items():
        value: Any = getattr(row, name)
        if type(value) is not kind or (kind is int and not 0 <= value < 2**63):
            raise DataError(f"image {row.image!r}: {name} is {value!r}", expected=f"{name} as {kind.__name__}")
        if kind is str:
            texts.append(value)
    if max(map(len, texts)) > LONGEST_TEXT:
        raise DataError(
            f"image {row.image[:80]!r}: a text of {max(map(len, texts))} letters", expected=f"at most {LONGEST_TEXT}"
        )
    for name in FIXED:
        length = len(getattr(row, name).encode(errors="surrogatepass"))
        if length > LONGEST_FIXED_BYTES:
            raise DataError(
                f"image {row.image[:80]!r}: {name} of {length} bytes", expected=f"at most {LONGEST_FIXED_BYTES}"
            )
    if not _storable("".join(texts)):
        name = next(name for name, kind in _TYPES.items() if kind is str and not _storable(getattr(row, name)))
        raise DataError(f"image {row.image!r}: {name} holds what is no text")
    if not row.image:
        raise DataError("an image without a name", expected="a name")
    if row.split not in SPLITS:
        raise SettingError(f"image {row.image!r}: split is {row.split!r}", expected="train or test")
    return row


def _storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def merged(old: ImageRow, new: ImageRow) -> ImageRow:
    """Keep the label, split and group of ``old`` where the data still say what they said when they were read."""
    if old.given and old.given == new.given:
        return replace(new, label=old.label, split=old.split, group=old.group)
    return new
