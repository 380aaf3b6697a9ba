"""What an extraction would make of images: blobs outlined, crops, and repeats of crops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.check.image import left_out
from featstore.crops import (
    Blobs,
    Place,
    augment,
    bring_to_working_size,
    cut_place,
    draw,
    find_blobs,
    find_places,
    normalise_stains,
)
from featstore.dataset import ImageRecord, Limits, file_digest, find_artefacts, read_image, read_mask
from featstore.dataset.names import folded
from featstore.recipe import OBJECT, TILE, AugmentationSettings, CropSettings, StainSettings
from featstore.report.sheets import BLUE, Tile, draw_sheet, outlined, thumbnail

__all__ = ["OVERVIEW", "PreviewSettings", "draw_overview", "draw_preview", "picture_names"]

Pixels = NDArray[np.uint8]

OVERVIEW = "overview.png"
_LONGEST_BYTES = 240
"""Of a file's name, with room for a number and an ending."""


@dataclass(frozen=True)
class PreviewSettings:
    """What is shown.

    Attributes
    ----------
    crops : CropSettings
    augmentation : AugmentationSettings
    stain : StainSettings
    seed : int
        Of the augmentation.
    repeats : int
        So many augmented repeats of each crop.
    size_px : int
        Side of the encoder's input: augmentation happens at that size.
    image_px, crop_px : int
        Largest side of the image, and side of a crop, as they are drawn.
    most_crops : int
        So many crops are drawn of an image, the first; of tiles there may be thousands.
    """

    crops: CropSettings = field(default_factory=CropSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    stain: StainSettings = field(default_factory=StainSettings)
    seed: int = 0
    repeats: int = 4
    size_px: int = 224
    image_px: int = 900
    crop_px: int = 160
    most_crops: int = 60


def picture_names(images: Iterable[str]) -> dict[str, str]:
    """Name the picture of each image of a dataset: as the image, without its ending, and numbered where two are alike.

    Names that some file system takes for the same are alike; `OVERVIEW` is no image's.
    """
    plain = {image: _plain_name(image) for image in images}
    taken = {folded(_plain_name(OVERVIEW))}
    wanted, names = taken | {folded(name) for name in plain.values()}, {}
    for image, name in plain.items():
        if folded(name) in taken:
            name = next(again for number in count(2) if folded(again := f"{name}-{number}") not in wanted | taken)
        taken.add(folded(name))
        names[image] = f"{name}.png"
    return names


def _plain_name(image: str) -> str:
    name = str(PurePosixPath(image).with_suffix("")).strip("/").replace("/", "-").encode()
    return (name if len(name) <= _LONGEST_BYTES else name[-_LONGEST_BYTES:]).decode(errors="ignore")


def draw_preview(record: ImageRecord, path: Path, settings: PreviewSettings) -> Tile:
    """Draw one image: whole, with its blobs outlined and numbered; below, a row for each crop, the clean one first.

    One that an extraction leaves out is drawn as well, and its title says so.

    Parameters
    ----------
    record : ImageRecord
    path : Path
        Of the PNG.
    settings : PreviewSettings

    Returns
    -------
    Tile
        The image again, small, for `draw_overview`.

    Raises
    ------
    ImageError
        If it can't be used.
    """
    image = read_image(record.path)
    mask = read_mask(record.mask_path, shape=image.shape[:2]) if record.mask_path else None
    blobs = find_blobs(image, mask, settings.crops)
    digest = file_digest(record.path)
    places = find_places(blobs, settings.crops, record.mpp)
    said = f"{len(blobs.blobs)} blobs, from: {blobs.source.replace('_', ' ')}"
    reason, why = _left_out(record, image, blobs, settings.crops)
    said += f"; left out by an extraction: {reason}" if reason else ""
    shown, note = normalise_stains(image, settings.stain)
    more = len(places) - settings.most_crops
    notes = why, blobs.note, note, f"the first {settings.most_crops} of {len(places)} crops" if more > 0 else ""
    whole = Tile(_numbered(shown, blobs, settings.image_px), tuple(text for text in notes if text))
    rows = [_row(shown, blobs, place, digest, settings) for place in places[: settings.most_crops]]
    draw_sheet([[whole], *rows], path, f"{record.image}: {said}")
    return Tile(_numbered(shown, blobs, settings.image_px // 4), (record.image, said))


def _left_out(record: ImageRecord, image: Pixels, blobs: Blobs, settings: CropSettings) -> tuple[str, str]:
    artefacts = find_artefacts(image, blobs.tissue, Limits.of(settings.limits).artefacts)
    return left_out(record, blobs, artefacts, settings)


def draw_overview(tiles: Sequence[Tile], path: Path, columns: int = 6) -> None:
    """Draw many images on one sheet, in their order."""
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    draw_sheet(rows, path, f"{len(tiles)} images")


def _row(image: Pixels, blobs: Blobs, place: Place, digest: str, settings: PreviewSettings) -> list[Tile]:
    """Make one crop and augment it, keyed as an extraction keys it: these are the pictures that an encoder sees."""
    clean = cut_place(image, blobs, place, settings.crops)
    size_px = min(settings.size_px, len(clean))
    working = bring_to_working_size(clean, size_px)
    tiles = [Tile(thumbnail(clean, settings.crop_px), (_called(place), f"{place.area_px} px, clean"))]
    for repeat in range(1, settings.repeats + 1):
        draws = draw(settings.augmentation, seed=settings.seed, image_digest=digest, blob=place.number, repeat=repeat)
        crop = augment(working, draws, settings.crops.fill, side_px=len(clean), size_px=size_px)
        tiles.append(Tile(thumbnail(crop, settings.crop_px), (f"repeat {repeat}", "")))
    return tiles


def _called(place: Place) -> str:
    if place.scale == OBJECT:
        return f"blob {place.number}"
    kind = "tile" if place.scale == TILE else f"scale {place.scale}"
    return f"{place.number}: {kind} of blob {place.parent}"


def _numbered(image: Pixels, blobs: Blobs, side_px: int) -> Pixels:
    """Outline the tissue, and number the blobs at the middle of their boxes."""
    small = outlined(thumbnail(image, side_px), blobs.tissue, BLUE)
    scale = small.shape[1] / image.shape[1]
    for blob in blobs.blobs:
        x0, y0, x1, y1 = (round(place * scale) for place in blob.box)
        text, size = str(blob.index), max(0.35, side_px / 1200)
        place = (x0 + x1) // 2 - round(8 * size), (y0 + y1) // 2 + round(8 * size)
        cv2.putText(small, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 4, cv2.LINE_AA)
        cv2.putText(small, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, BLUE, 1, cv2.LINE_AA)
    return small
