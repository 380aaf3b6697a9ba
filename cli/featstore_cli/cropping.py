"""The options that say how blobs and crops are made, the same for all commands that make or measure them."""

from __future__ import annotations

import re
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from featstore.recipe import CropSettings

__all__ = [
    "Artefacts",
    "ArtefactsOption",
    "LimitsOption",
    "MarginOption",
    "Masks",
    "MasksOption",
    "MaxBlobsOption",
    "MinAreaOption",
    "MppOption",
    "Stain",
    "StainOption",
    "TileTissueOption",
    "TilesOption",
    "WidthsOption",
    "measured_by",
    "scaled",
]


class Masks(StrEnum):
    """What is done about poor masks."""

    checked = "checked"
    given = "given"


class Artefacts(StrEnum):
    """What is done about contaminated images."""

    exclude = "exclude"
    subtract = "subtract"
    keep = "keep"


class Stain(StrEnum):
    """Methods of stain normalisation."""

    none = "none"
    macenko = "macenko"
    reinhard = "reinhard"


MaxBlobsOption = Annotated[int, typer.Option(min=1, help="At most this many blobs an image, the largest.")]
MinAreaOption = Annotated[int, typer.Option(min=1, help="Smaller blobs are left out (px).")]
MarginOption = Annotated[float, typer.Option(min=0, help="Growth of a blob's box on each side.")]
MasksOption = Annotated[
    Masks, typer.Option(help="Measure masks, and clean or replace poor ones; or take them as they are given.")
]
ArtefactsOption = Annotated[
    Artefacts,
    typer.Option(
        help="Leave contaminated training images out; or take pasted blobs and ink off the tissue; or neither."
    ),
]
LimitsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="TOML file with thresholds for masks and artefacts (featstore check --show-limits).",
        show_default="none changed",
    ),
]
WidthsOption = Annotated[
    str, typer.Option(metavar="1,2,4", help="Crops of each blob: 1, itself; 2, a square twice as wide around it.")
]
TilesOption = Annotated[
    int | None,
    typer.Option(metavar="PX", min=16, max=4096, help="Cut blobs into tiles of PX x PX pixels, as well."),
]
TileTissueOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Least share of a tile that is tissue of its blob.", show_default="0.25"),
]
MppOption = Annotated[
    float | None,
    typer.Option(
        metavar="UM", help="Micrometres a pixel of the tiles; the data's column mpp tells those of the images."
    ),
]
StainOption = Annotated[
    Stain, typer.Option(help="Bring the stains of each image to a reference: none, macenko or reinhard.")
]


def measured_by(masks: Masks, artefacts: Artefacts, limits: Path | None) -> dict[str, Any]:
    """Read what images and masks are measured by, as settings of crops."""
    from featstore.dataset import read_limits

    return {
        "masks": masks.value,
        "artefacts": artefacts.value,
        "limits": () if limits is None else read_limits(limits).changes,
    }


def scaled(scales: str, tiles: int | None, tile_tissue: float | None, mpp: float | None) -> CropSettings:
    """Read what says at which scales blobs are cropped."""
    from featstore.errors import SettingError
    from featstore.recipe import CropSettings

    words = [word.strip() for word in scales.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]?", word) for word in words):
        raise typer.BadParameter(f"{scales!r} is no list of whole numbers, such as 1,2,4", param_hint="--scales")
    if tiles is None and (mpp is not None or tile_tissue is not None):
        raise typer.BadParameter("is for tiles: give --tiles PX as well", param_hint="--mpp, --tile-tissue")
    if mpp is not None and not 0 < mpp < 1000:
        raise typer.BadParameter(f"{mpp} is no number of micrometres above 0", param_hint="--mpp")
    given: dict[str, Any] = {"tile_px": tiles, "tile_tissue": tile_tissue, "mpp": mpp}
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return replace(CropSettings(), scales=tuple(map(int, words)), **given)
    except SettingError as error:
        raise typer.BadParameter(f"{scales!r}; expected {error.expected}", param_hint="--scales") from None
