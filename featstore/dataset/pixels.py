"""From a file to pixels: images as RGB, masks as grey, both 8 bit; or an error that names the file and says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset.containers import Header, read_header
from featstore.dataset.files import read_bytes
from featstore.dataset.opencv import opencv, quietly
from featstore.dataset.reasons import Reason
from featstore.dataset.tiff import upright
from featstore.errors import ImageError

__all__ = ["MAX_PIXELS", "decode_image", "decode_mask", "read_image", "read_mask"]

Pixels = NDArray[np.uint8]

MAX_PIXELS = 1 << 28
"""16,384 x 16,384: 0.8 GB as RGB, and about three times that while it is decoded and cropped, which an ordinary machine
bears for one image. What is larger is a whole slide, to be cut into fields first."""

TWELVE_BITS = 4095
"""16-bit images with no value above this are taken as 12-bit ones, as most microscope cameras write them: read by the
type's range they would have less than 1/16 of full light, and glass in transmitted light is never that dark."""

# (dimensions, channels) of grey, BGR and BGRA
_LAYOUTS = ((2,), (3, 3), (3, 4))
_COPY_AGAIN = "Copy it again from its source, or leave it out."


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image.

    Parameters
    ----------
    path : str or Path
        A PNG, JPEG, TIFF (its first page), BMP, WebP, JPEG 2000, or whatever else OpenCV reads.
    max_pixels : int
        Larger images are refused before they are decoded.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB. Grey is repeated. Transparent pixels lie on white, as glass does. 16 bits are scaled by the type's range,
        12 bits in 16 (no value above `TWELVE_BITS`) by theirs. Floats are expected from 0 to 1. Orientation tags are
        ignored, as they are for masks.

    Raises
    ------
    ImageError
        With the reason ``unreadable`` or ``too_large``.
    """
    return decode_image(read_bytes(path), path, max_pixels=max_pixels)


def read_mask(path: str | Path, *, shape: tuple[int, int]) -> Pixels:
    """Read a mask.

    Parameters
    ----------
    path : str or Path
        A file of any kind that `read_image` takes.
    shape : tuple of 2 ints
        Height and width of its image, in pixels.

    Returns
    -------
    ndarray of shape ``shape``, uint8
        Grey values as stored; more than 8 bits are scaled, and what is above 0 stays above 0. Of several channels the
        brightest counts. Where nothing but the alpha channel varies, that is the mask; else transparent is 0.

    Raises
    ------
    ImageError
        With the reason ``mask_unreadable`` or ``mask_size``.
    """
    return decode_mask(read_bytes(path, reason=Reason.MASK_UNREADABLE), path, shape=shape)


def decode_image(data: bytes, name: str | Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode an image from the bytes of its file, as `read_image`; ``name`` is for the error message."""
    header = _inspect(data, name, Reason.UNREADABLE)
    if header is not None:
        _require_size(header.height, header.width, name, max_pixels)
    stored = _decode(data, name, header, Reason.UNREADABLE)
    _require_size(stored.shape[0], stored.shape[1], name, max_pixels)
    pixels = _to_8_bit(stored, name)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = _on_white(pixels, premultiplied=header is not None and header.kind == "TIFF" and stored.itemsize == 1)
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB), np.uint8)


def decode_mask(data: bytes, name: str | Path, *, shape: tuple[int, int]) -> Pixels:
    """Decode a mask from the bytes of its file, as `read_mask`; ``name`` is for the error message."""
    header = _inspect(data, name, Reason.MASK_UNREADABLE)
    if header is not None:
        _require_shape((header.height, header.width), shape, name)
    stored = _decode(data, name, header, Reason.MASK_UNREADABLE)
    _require_shape(stored.shape[:2], shape, name)
    grey = _grey(stored)
    top = grey.max()
    if grey.dtype == np.uint8:
        return np.asarray(grey)
    if not np.isfinite(top):
        raise ImageError(f"the mask {name} holds values that are not numbers", reason=Reason.MASK_UNREADABLE)
    if grey.dtype.kind == "f" and top <= 1:
        grey = grey * 255.0
    elif top > 255:
        grey = grey * (255.0 / (65535 if grey.dtype == np.uint16 else top))
    return np.where(grey > 0, np.clip(np.rint(grey), 1, 255), 0).astype(np.uint8)


def _inspect(data: bytes, name: str | Path, reason: Reason) -> Header | None:
    header = read_header(data)
    problem = "" if header is None else header.problem
    if header is not None and not problem and not (header.height > 0 and header.width > 0):
        problem = f"its head says {header.width} x {header.height} pixels"
    if problem:
        raise ImageError(f"{name} is damaged: {problem}", reason=reason, remedy=_COPY_AGAIN)
    return header


def _decode(data: bytes, name: str | Path, header: Header | None, reason: Reason) -> NDArray[Any]:
    """Decode what is stored: any depth, 1, 3 or 4 channels in OpenCV's order, not rotated."""
    cv2 = opencv()
    if header is not None and header.kind == "TIFF":
        data = upright(data)
    error = ""
    with quietly() as heard:
        try:
            stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as caught:
            stored, error = None, str(caught.err)
    if heard.damage or stored is None or (stored.ndim, *stored.shape[2:]) not in _LAYOUTS:
        what = f"a {header.kind} that OpenCV can't decode" if header else "no image of a kind that OpenCV reads"
        said = f" ({heard.damage or error})" if heard.damage or error else ""
        remedy = "Save it as PNG, or leave it out." if header and not heard.damage else _COPY_AGAIN
        raise ImageError(f"{name} is {'damaged' if heard.damage else what}{said}", reason=reason, remedy=remedy)
    return np.asarray(stored)


def _require_size(height: int, width: int, name: str | Path, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} pixels",
            reason=Reason.TOO_LARGE,
            expected=f"at most {max_pixels:,} pixels",
            remedy="Cut it into fields first.",
        )


def _require_shape(found: tuple[int, ...], shape: tuple[int, int], name: str | Path) -> None:
    if tuple(found) != tuple(shape):
        raise ImageError(
            f"the mask {name} has {found[1]} x {found[0]} pixels, its image {shape[1]} x {shape[0]}",
            reason=Reason.MASK_SIZE,
            expected="the same size",
        )


def _to_8_bit(stored: NDArray[Any], name: str | Path) -> Pixels:
    if stored.dtype == np.uint8:
        return stored
    colours = stored[..., :3] if stored.ndim == 3 else stored
    if stored.dtype == np.uint16:
        top = TWELVE_BITS if colours.max() <= TWELVE_BITS else 65535
        # a table of all values costs 64 KB; arithmetic on the image would cost four times its memory
        table = np.minimum(np.rint(np.arange(65536) * (255 / top)), 255).astype(np.uint8)
        return np.asarray(table[stored])
    if stored.dtype.kind == "f" and np.isfinite(stored).all() and stored.min() >= 0 and stored.max() <= 1:
        return np.asarray(np.rint(stored * 255), np.uint8)
    raise ImageError(
        f"{name} holds values of type {stored.dtype} from {stored.min()} to {stored.max()}",
        reason=Reason.UNREADABLE,
        expected="8-bit or 16-bit values, or floats from 0 to 1",
    )


def _on_white(pixels: Pixels, *, premultiplied: bool) -> Pixels:
    colours, alpha = pixels[..., :3], pixels[..., 3:].astype(np.uint16)
    if alpha.min() == 255:
        return np.ascontiguousarray(colours)
    light = colours.astype(np.uint16) * (255 if premultiplied else alpha)
    return np.asarray(np.minimum((light + 255 * (255 - alpha) + 127) // 255, 255), np.uint8)


def _grey(stored: NDArray[Any]) -> NDArray[Any]:
    if stored.ndim == 2:
        return stored
    brightest = stored[..., :3].max(axis=2)
    if stored.shape[2] < 4:
        return np.asarray(brightest)
    alpha = stored[..., 3]
    if brightest.min() == brightest.max() and alpha.min() != alpha.max():
        return alpha
    return np.where(alpha > 0, brightest, 0).astype(stored.dtype)
