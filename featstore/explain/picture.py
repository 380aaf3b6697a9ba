"""An image to be explained, and its mask, read as an extraction reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featstore.dataset import Reason, file_digest, read_image, read_mask
from featstore.dataset.files import is_image_name, list_folder
from featstore.dataset.pairs import pair_files
from featstore.errors import ImageError

__all__ = ["Picture", "mask_beside", "open_picture"]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image.

    Attributes
    ----------
    path : Path
    pixels : ndarray of shape (height, width, 3), uint8, RGB
    mask : ndarray of shape (height, width), uint8, or None
    sha256 : str
        Of the file.
    """

    path: Path
    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None = None
    sha256: str = ""


def open_picture(path: Path, mask: Path | None = None) -> Picture:
    """Read an image and its mask.

    Parameters
    ----------
    path : Path
    mask : Path, optional
        By default the one that an extraction would find beside it.

    Raises
    ------
    ImageError
        If one of them can't be read, or they are of different sizes.
    """
    pixels = read_image(path)
    found = mask_beside(path) if mask is None else mask
    values = None if found is None else read_mask(found, shape=pixels.shape[:2])
    return Picture(path, pixels, values, file_digest(path))


def mask_beside(path: Path) -> Path | None:
    """Find an image's mask in its folder: ``mask_0000.png`` beside ``img_0000.png``.

    Raises
    ------
    ImageError
        If the file is a mask by its name.
    """
    pairs, _ = pair_files([other for other in list_folder(path.absolute().parent) if is_image_name(other.name)])
    for pair in pairs:
        if pair.path.name == path.name:
            return pair.mask
    if path.name.lower().startswith("mask_"):
        raise ImageError(
            f"{path} is a mask by its name", reason=Reason.UNREADABLE, expected="an image, such as img_0000.png"
        )
    return None
