"""Mask to blobs: the connected tissue objects of an image, largest first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.dataset.artefact_check import Artefact, find_artefacts
from featstore.dataset.limits import Limits
from featstore.dataset.mask_quality import MaskQuality, clean_mask, measure_mask
from featstore.dataset.reasons import Reason
from featstore.dataset.subtract import LOCAL, enough_remains, subtract_artefacts
from featstore.dataset.tissue import find_tissue, is_blank
from featstore.errors import DataError, ImageError
from featstore.recipe import CropSettings

__all__ = ["Blob", "Blobs", "BlobSource", "Box", "find_blobs", "threshold_mask"]

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels of the image, half-open: x1 and y1 are just outside."""

CLASS_NUMBERS = 32
"""A mask whose values all lie below holds class numbers, not shades: every positive one is tissue."""

BlobSource = Literal["mask", "whole_mask", "mask_cleaned", "tissue", "whole_image"]
"""The step of the fallback ladder that the blobs came from; see `find_blobs`."""

_MENDED = frozenset({"noisy", "off_tissue"})
"""What is wrong with a mask that `clean_mask` can mend."""


@dataclass(frozen=True)
class Blob:
    """One connected tissue object.

    Attributes
    ----------
    index : int
        Its number within the image; 0 is the largest.
    area_px : int
        Pixels that belong to it.
    box : tuple of 4 ints
        Its bounding box (x0, y0, x1, y1), half-open.
    """

    index: int
    area_px: int
    box: Box


@dataclass(frozen=True, eq=False)
class Blobs:
    """The blobs of one image.

    Attributes
    ----------
    tissue : ndarray of shape (height, width), bool
        Every pixel that counts as tissue, those of objects that are too small or too many included.
    blobs : tuple of Blob
        At least one; by falling area.
    source : str
        The step of the ladder that they were found on.
    quality : MaskQuality or None
        Of the mask as it was given; None where there is none, or it was not to be measured.
    mask : str
        What that says in a word: empty without a mask, ``empty``, ``whole`` where it covers all of the image, the
        reasons why it is poor, ``good``, or ``given`` where it was not to be measured.
    subtracted : tuple of str
        Kinds of artefacts that were taken off the tissue.
    foreign : ndarray of shape (height, width), bool, or None
        What was pasted or drawn on the image, with its rim, where it was taken off the tissue: no crop shows it.
    """

    tissue: NDArray[np.bool_]
    blobs: tuple[Blob, ...]
    source: BlobSource
    quality: MaskQuality | None = None
    mask: str = ""
    subtracted: tuple[str, ...] = ()
    foreign: NDArray[np.bool_] | None = None

    @property
    def note(self) -> str:
        """Why blobs are not those of the mask as it was given, in words; empty where they are."""
        poor = ", ".join(self.quality.reasons) if self.quality else ""
        said = _NOTES[self.source] + (f" (the mask is {poor.replace('_', ' ')})" if poor else "")
        taken = ", ".join(self.subtracted).replace("_", " ")
        return "; ".join(text for text in (said, f"{taken} was taken off the tissue" if taken else "") if text)


_NOTES: dict[BlobSource, str] = {
    "mask": "",
    "whole_mask": "no blob of the mask is large enough: the whole mask was taken as one",
    "mask_cleaned": "the mask was cleaned",
    "tissue": "no usable mask: tissue was found on the image itself",
    "whole_image": "no usable mask and no tissue found: the whole image was taken as one blob",
}


def find_blobs(image: NDArray[np.uint8], mask: NDArray[np.uint8] | None, settings: CropSettings) -> Blobs:
    """Find the tissue objects of an image, on its mask if that is any good.

    With ``settings.artefacts`` ``subtract`` what was pasted or drawn on the image is taken off the tissue, if enough
    remains.

    The ladder, whose step is on record in ``source``:

    - ``mask``: the 8-connected components of the thresholded mask; ``whole_mask``, all its pixels as one blob, when no
      component is large enough;
    - ``mask_cleaned``: the same without specks and what lies off the tissue, for a mask that is poor in these alone
      (`measure_mask`), if it is good then;
    - ``tissue``: the components of tissue found on the image, when the mask is missing, empty or poor;
    - ``whole_image``: one blob, when no tissue is found but the image is not blank.

    With ``settings.masks`` ``given`` a mask that is not empty is taken as it is.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, RGB
    mask : ndarray of shape (height, width), uint8, or None
        Any positive value may stand for tissue.
    settings : CropSettings

    Returns
    -------
    Blobs
        Ordered by area; those of one area by where they begin, from the top and then from the left.

    Raises
    ------
    ImageError
        With the reason ``no_blob``, if the image is blank and its mask empty, missing or poor.
    """
    _check(image, mask)
    given = None if mask is None else threshold_mask(mask)
    found = _ladder(image, given, settings)
    found = replace(found, mask=_said_of(given, found.quality))
    return _subtracted(image, found, settings) if settings.artefacts == "subtract" else found


def _subtracted(image: NDArray[np.uint8], found: Blobs, settings: CropSettings) -> Blobs:
    limits = Limits.of(settings.limits).artefacts
    artefacts = find_artefacts(image, found.tissue, limits)
    foreign = ~subtract_artefacts(np.ones_like(found.tissue), artefacts, limits)
    tissue = found.tissue & ~foreign
    blobs = _components(tissue, settings)
    if not foreign.any() or not (blobs and enough_remains(found.tissue, tissue, limits)):
        return found
    if (tissue == found.tissue).all():
        return replace(found, foreign=foreign)
    kinds = tuple(each.kind for each in artefacts if each.over and each.kind in LOCAL and _touches(each, found.tissue))
    return replace(found, tissue=tissue, blobs=blobs, subtracted=kinds, foreign=foreign)


def _touches(artefact: Artefact, tissue: NDArray[np.bool_]) -> bool:
    return artefact.pixels is not None and bool((artefact.pixels & tissue).any())


def _ladder(image: NDArray[np.uint8], mask: NDArray[np.bool_] | None, settings: CropSettings) -> Blobs:
    quality, limits = None, Limits.of(settings.limits).masks
    if mask is not None:
        quality = measure_mask(image, mask, limits) if settings.masks == "checked" or not mask.any() else None
        if quality is None or not quality.reasons:
            return _on_mask(mask, settings, quality)
        if mask.any() and _MENDED.issuperset(quality.reasons):
            cleaned = clean_mask(image, mask)
            if not measure_mask(image, cleaned, limits).reasons and (blobs := _components(cleaned, settings)):
                return Blobs(cleaned, blobs, "mask_cleaned", quality)
    tissue = find_tissue(image)
    if blobs := _components(tissue, settings):
        return Blobs(tissue, blobs, "tissue", quality)
    if is_blank(image):
        raise _no_blob(quality)
    whole = np.ones(image.shape[:2], dtype=np.bool_)
    return Blobs(whole, (_union(whole),), "whole_image", quality)


def _on_mask(mask: NDArray[np.bool_], settings: CropSettings, quality: MaskQuality | None) -> Blobs:
    blobs = _components(mask, settings)
    return Blobs(mask, blobs, "mask", quality) if blobs else Blobs(mask, (_union(mask),), "whole_mask", quality)


def _said_of(mask: NDArray[np.bool_] | None, quality: MaskQuality | None) -> str:
    if mask is None:
        return ""
    if mask.all():
        return "whole"
    if quality is None:
        return "given"
    return "empty" if "empty" in quality.reasons else ", ".join(quality.reasons) or "good"


def _no_blob(quality: MaskQuality | None) -> ImageError:
    what = "missing" if quality is None else ", ".join(quality.reasons).replace("_", " ")
    return ImageError(
        f"no blob: the mask is {what}, and the image is blank",
        reason=Reason.NO_BLOB,
        expected="an image that shows something, or a mask of it",
        remedy="Look at the image; --masks given takes a mask as it is.",
    )


def threshold_mask(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell tissue from background in a mask.

    A mask without zeros is tissue throughout; one of two values, or of class numbers below `CLASS_NUMBERS`, is tissue
    where it is positive; any other is cut at Otsu's threshold (Otsu, 1979, doi:10.1109/TSMC.1979.4310076).

    Parameters
    ----------
    mask : ndarray of shape (height, width), uint8

    Returns
    -------
    ndarray of shape (height, width), bool
    """
    lowest, highest = int(mask.min()), int(mask.max())
    if lowest > 0:
        return np.ones(mask.shape, dtype=np.bool_)
    if highest < CLASS_NUMBERS or not ((mask > 0) & (mask < highest)).any():
        return np.asarray(mask > 0)
    threshold, _ = cv2.threshold(mask, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(mask > threshold)


def _components(tissue: NDArray[np.bool_], settings: CropSettings) -> tuple[Blob, ...]:
    # Grana et al., 2010, doi:10.1109/TIP.2010.2044963: half the time of OpenCV's default, where objects are large.
    count, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        tissue.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_BBDT
    )
    found = []
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[label])
        if area >= settings.min_area_px:
            # Equal area and corner still leave a tie between interlocked objects; no two share their first pixel.
            first = int(np.argmax(labels[y, x : x + width] == label))
            found.append((-area, y, x, first, (x, y, x + width, y + height)))
    largest = sorted(found)[: settings.max_blobs]
    return tuple(Blob(index, -key[0], key[4]) for index, key in enumerate(largest))


def _union(tissue: NDArray[np.bool_]) -> Blob:
    rows, columns = np.flatnonzero(tissue.any(axis=1)), np.flatnonzero(tissue.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Blob(0, int(tissue.sum()), box)


def _check(image: NDArray[np.uint8], mask: NDArray[np.uint8] | None) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DataError(
            f"an image of shape {image.shape} and type {image.dtype}",
            expected="RGB of shape (height, width, 3) and type uint8",
            remedy="Read images with featstore.dataset.read_image.",
        )
    if mask is not None and (mask.dtype != np.uint8 or mask.shape != image.shape[:2]):
        raise DataError(
            f"a mask of shape {mask.shape} and type {mask.dtype}",
            expected=f"grey values of shape {image.shape[:2]}, as the image, and type uint8",
            remedy="Read masks with featstore.dataset.read_mask.",
        )
