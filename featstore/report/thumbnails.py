"""Small pictures of images, for a page: as many as a page can bear, none of a file that has changed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featstore.dataset import Dataset, ImageRecord, find_dataset
from featstore.dataset.files import bytes_digest, read_bytes
from featstore.dataset.opencv import opencv
from featstore.dataset.pixels import decode_image
from featstore.errors import DataError
from featstore.store import ImageRow

__all__ = ["Originals", "Thumbnails", "encode_webp", "encode_within", "shrunk"]

Pixels = NDArray[np.uint8]

SIDE_PX = 160
MOST = 3000
BUDGET_BYTES = 6_500_000
"""Of the pictures; base64 makes a third more of it."""

_SMALLEST_PX = 60
_QUALITIES = (72, 60, 48, 36, 24, 12, 5)


class Originals:
    """The files that a store was extracted from, as far as they are there and the same.

    Parameters
    ----------
    data : Path or None
        What `find_dataset` takes.
    images : mapping from key to ImageRow
        Of the store.

    Raises
    ------
    DataError
        If there is no dataset at the path.
    """

    def __init__(self, data: Path | None, images: Mapping[str, ImageRow]) -> None:
        found: Dataset | None = None if data is None else find_dataset(data)
        self.rows = images
        self.records: dict[str, ImageRecord] = {} if found is None else {row.image: row for row in found.records}

    def record(self, image: str) -> ImageRecord | None:
        """Return where an image is; None without it."""
        return self.records.get(image)

    def read(self, image: str) -> Pixels | None:
        """Read an image; None where this version lacks it, or there is no file, or not what was extracted."""
        record, row = self.record(image), self.rows.get(image)
        if record is None or row is None:
            return None
        try:
            data = read_bytes(record.path)
            if row.sha256 and bytes_digest(data) != row.sha256:
                return None
            return decode_image(data, record.path)
        except DataError:
            return None

    def same(self, image: str) -> bool:
        """Tell whether the image and its mask are the files that were extracted."""
        record, row = self.record(image), self.rows.get(image)
        if record is None or row is None:
            return False
        try:
            mask = bytes_digest(read_bytes(record.mask_path)) if record.mask_path else ""
            return row.identity == (bytes_digest(read_bytes(record.path)), mask)
        except DataError:
            return False


@dataclass
class Thumbnails:
    """Small pictures by image, each stored once in a page.

    Attributes
    ----------
    files : dict from key to bytes
        WebP.
    lacking : list of str
        Images that were asked for and are not there, or are others now.
    beyond : int
        Images that were not asked for, since there are too many.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)
    beyond: int = 0

    @classmethod
    def make(
        cls,
        originals: Originals,
        wanted: Iterable[str],
        callback: Callable[[int, int], object] = lambda *_: None,
    ) -> Thumbnails:
        """Make them of the first `MOST` images, at the best quality at which all of them fit into the budget."""
        names = list(dict.fromkeys(wanted))
        made = cls(beyond=max(len(names) - MOST, 0))
        small: dict[str, Pixels] = {}
        for number, name in enumerate(names[:MOST]):
            pixels = originals.read(name)
            if pixels is None:
                made.lacking.append(name)
            else:
                small[name] = shrunk(pixels, SIDE_PX)
            callback(number + 1, min(len(names), MOST))
        made.files = encode_within(small, BUDGET_BYTES)
        return made

    def number(self, image: str) -> int | None:
        """Return which picture is an image's; None without one."""
        return self._numbers.get(image)

    @property
    def rules(self) -> str:
        """Style rules that draw them: ``.t0`` is the first one."""
        return "".join(
            f".t{number}{{background-image:url(data:image/webp;base64,{base64.b64encode(data).decode()})}}"
            for number, data in enumerate(self.files.values())
        )

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.files)}


def shrunk(pixels: Pixels, side_px: int) -> Pixels:
    """Shrink an image so that neither side is longer than that."""
    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    cv2 = opencv()
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_within(pictures: Mapping[str, Pixels], budget_bytes: int, first: int = _QUALITIES[0]) -> dict[str, bytes]:
    """Encode pictures at the best quality, from the ``first`` on, at which all fit into a budget; else smaller ones."""
    while True:
        for quality in (first, *(each for each in _QUALITIES if each < first)):
            files = {name: encode_webp(pixels, quality) for name, pixels in pictures.items()}
            if sum(map(len, files.values())) <= budget_bytes:
                return files
        longest = max(max(pixels.shape[:2]) for pixels in pictures.values())
        if longest < _SMALLEST_PX:
            return files
        pictures = {name: shrunk(pixels, longest * 2 // 3) for name, pixels in pictures.items()}


def encode_webp(pixels: Pixels, quality: int) -> bytes:
    """Encode RGB pixels as WebP."""
    cv2 = opencv()
    _, data = cv2.imencode(".webp", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, quality])
    return bytes(data)
