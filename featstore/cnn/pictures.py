"""Images as the networks take them: square, at the network's own size, the mask as a fourth channel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.reasons import Reason
from featstore.dataset.records import ImageRecord, plural
from featstore.errors import DataError
from featstore.extras import require_extra

__all__ = [
    "Framing",
    "Image",
    "Picture",
    "Pictures",
    "frame",
    "framed",
    "load_pictures",
    "read_picture",
    "record_of",
    "tissue_of",
]

Pixels = NDArray[np.uint8]
Image: TypeAlias = ImageRecord | str | Path

_READERS = 4


@dataclass(frozen=True)
class Framing:
    """Where an image lies in its square picture.

    Attributes
    ----------
    side_px : int
        Of the picture.
    left, top, right, bottom : int
        The rectangle of the picture that shows the image, half-open.
    width_px, height_px : int
        Of the image.
    """

    side_px: int
    left: int
    top: int
    right: int
    bottom: int
    width_px: int
    height_px: int

    @property
    def enlarged(self) -> bool:
        """Whether the image has fewer pixels than the rectangle that shows it."""
        return self.right - self.left > self.width_px or self.bottom - self.top > self.height_px


@dataclass(frozen=True, eq=False)
class Picture:
    """One image, framed.

    Attributes
    ----------
    pixels : ndarray of shape (side, side, 4), uint8
        RGB, and 255 where the mask says tissue.
    digest : str
        Of the image's and its mask's files.
    content, mask : str
        SHA-256 of either file; empty for a mask that is not there or shows nothing.
    framing : Framing
    contaminated : str
        What colour contaminates the tissue, in words; empty for none.
    """

    pixels: Pixels
    digest: str
    content: str
    mask: str
    framing: Framing
    contaminated: str


@dataclass(frozen=True, eq=False)
class Pictures:
    """Framed images of one size.

    Attributes
    ----------
    names : list of str
    pixels : ndarray of shape (n_images, side, side, 4), uint8
    digests : list of str
        Of each image's content.
    traits : list of (str, str)
        SHA-256 of each image and of its mask: those that share one are twins.
    contaminated : list of str
        In words, empty where an image is clean.
    groups : list of str
        Those of the rows; empty where there is none.
    n_enlarged : int
        Images smaller than the network's input.
    """

    names: list[str]
    pixels: Pixels
    digests: list[str]
    traits: list[tuple[str, str]]
    contaminated: list[str]
    groups: list[str]
    n_enlarged: int

    @property
    def note(self) -> str:
        """Say that images are smaller than the pictures; empty when none is."""
        side = self.pixels.shape[1]
        return f"{plural(self.n_enlarged, 'image')} smaller than {side} px, enlarged" if self.n_enlarged else ""


def record_of(image: Image) -> ImageRecord:
    """Return a row of a dataset as it is, and of a path make one: an image without a mask."""
    if isinstance(image, ImageRecord):
        return image
    if not isinstance(image, str | Path):
        raise DataError(
            f"an image is given as a {type(image).__name__}",
            expected="a row of featstore.dataset.find_dataset(DATA).records, or the path of an image file",
        )
    path = Path(image)
    return ImageRecord(str(path), path.name, 0, path, None, "", "train", "", None, "", "")


def load_pictures(images: Sequence[Image], side_px: int) -> Pictures:
    """Read and frame images, several at a time.

    Parameters
    ----------
    images : sequence of ImageRecord, str or Path
    side_px : int
        Of the pictures.

    Raises
    ------
    ImageError
        If a file can't be read; it is named.
    DataError
        If there is no image.
    """
    if isinstance(images, str | Path):
        raise DataError(f"one path, {images}", expected="a list of images", remedy="Write [path].")
    records = [record_of(image) for image in images]
    if not records:
        raise DataError("no images", expected="one image or more")
    pixels = np.empty((len(records), side_px, side_px, 4), np.uint8)
    found = []
    with ThreadPoolExecutor(_READERS) as pool:
        for place, picture in enumerate(pool.map(lambda record: read_picture(record, side_px), records)):
            pixels[place] = picture.pixels
            found.append(replace(picture, pixels=pixels[place]))
    return Pictures(
        names=[record.image for record in records],
        pixels=pixels,
        digests=[picture.digest for picture in found],
        traits=[(picture.content, picture.mask) for picture in found],
        contaminated=[picture.contaminated for picture in found],
        groups=[record.group for record in records],
        n_enlarged=sum(picture.framing.enlarged for picture in found),
    )


def read_picture(record: ImageRecord, side_px: int) -> Picture:
    """Read one image and its mask (tissue found on the image where it has none), and frame both."""
    require_extra("cv2", "cnn", "reading images needs")
    from featstore.dataset import colour_shares, contamination_note, decode_image, decode_mask, read_bytes

    data = read_bytes(record.path)
    image = decode_image(data, record.path)
    mask, mask_data = None, b""
    if record.mask_path is not None:
        mask_data = read_bytes(record.mask_path, reason=Reason.MASK_UNREADABLE)
        mask = decode_mask(mask_data, record.mask_path, shape=image.shape[:2])
    tissue = tissue_of(image, mask)
    pixels, framing = framed(image, tissue, side_px)
    content = hashlib.sha256(data).hexdigest()
    masked = hashlib.sha256(mask_data).hexdigest() if mask is not None and mask.any() else ""
    digest = hashlib.sha256(f"{content} {masked}".encode()).hexdigest()
    return Picture(pixels, digest, content, masked, framing, contamination_note(colour_shares(image, tissue)))


def tissue_of(image: Pixels, mask: Pixels | None) -> NDArray[np.bool_]:
    """Tell tissue by the mask, or where it shows nothing by the image."""
    from featstore.crops.blobs import threshold_mask
    from featstore.dataset import find_tissue

    return threshold_mask(mask) if mask is not None and mask.any() else find_tissue(image)


def framed(image: Pixels, tissue: NDArray[np.bool_], side_px: int) -> tuple[Pixels, Framing]:
    """Frame an image and its tissue as (side, side, 4); around them is glass."""
    framing = frame(image.shape[0], image.shape[1], side_px)
    pixels = np.zeros((side_px, side_px, 4), np.uint8)
    pixels[..., :3] = 255
    inside = (slice(framing.top, framing.bottom), slice(framing.left, framing.right))
    pixels[(*inside, slice(0, 3))] = _resized(image, framing)
    pixels[(*inside, 3)] = _resized(tissue.view(np.uint8) * np.uint8(255), framing)
    return pixels, framing


def frame(height_px: int, width_px: int, side_px: int) -> Framing:
    """Place an image in the middle of a square, as large as fits; its proportions stay."""
    scale = side_px / max(height_px, width_px)
    width, height = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    left, top = (side_px - width) // 2, (side_px - height) // 2
    return Framing(side_px, left, top, left + width, top + height, width_px, height_px)


def _resized(pixels: Pixels, framing: Framing) -> Pixels:
    import cv2

    how = cv2.INTER_LINEAR if framing.enlarged else cv2.INTER_AREA
    size = (framing.right - framing.left, framing.bottom - framing.top)
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
