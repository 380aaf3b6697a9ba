"""``featstore preview``: what an extraction would make of images, before it is run."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featstore_cli.cropping import (
    Artefacts,
    ArtefactsOption,
    LimitsOption,
    MarginOption,
    Masks,
    MasksOption,
    MaxBlobsOption,
    MinAreaOption,
    MppOption,
    Stain,
    StainOption,
    TilesOption,
    TileTissueOption,
    WidthsOption,
    measured_by,
    scaled,
)
from featstore_cli.options import check_pictures
from featstore_cli.output import JsonFlag, counted, note, plain_errors, print_json, print_lines
from featstore_cli.progress import progress_bar

if TYPE_CHECKING:
    from featstore.dataset import Dataset, ImageRecord
    from featstore.report.previews import PreviewSettings

__all__ = ["EXAMPLES", "preview"]

EXAMPLES = """\b
Examples:
  featstore preview
  featstore preview data --only img_0003 --only img_0007 --repeats 8
  featstore preview slides.csv --images 40 --out previews"""


def _interrupted(out: Path, **_: object) -> str:
    return f"Pictures that are finished are in {out}." if out.is_dir() else "Nothing was written."


@plain_errors(_interrupted)
def preview(
    data: Annotated[
        Path, typer.Argument(help="Challenge folder, CSV of images, or plain folder of images.", show_default=True)
    ] = Path("data"),
    out: Annotated[Path, typer.Option(help="Folder for the pictures, a PNG an image, and an overview.")] = Path(
        "previews"
    ),
    images: Annotated[int, typer.Option(min=1, help="So many images, evenly spread over the data.")] = 12,
    only: Annotated[
        list[str] | None, typer.Option(help="Only images with this in their names; may be given again.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=0, help="Augmented repeats of each crop.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the augmentation.")] = 0,
    max_blobs: MaxBlobsOption = 10,
    min_area: MinAreaOption = 100,
    margin: MarginOption = 0.1,
    masks: MasksOption = Masks.checked,
    artefacts: ArtefactsOption = Artefacts.exclude,
    limits: LimitsOption = None,
    scales: WidthsOption = "1",
    tiles: TilesOption = None,
    tile_tissue: TileTissueOption = None,
    mpp: MppOption = None,
    stain: StainOption = Stain.none,
    as_json: JsonFlag = False,
) -> None:
    """Draw blobs outlined on their image, the crops that the encoder would see, and augmented repeats of these.

    With the same options and seed an extraction with an encoder of 224 pixels makes the same pictures.
    """
    from featstore.dataset import find_dataset
    from featstore.recipe import StainSettings
    from featstore.report.previews import OVERVIEW, PreviewSettings, picture_names

    started = time.perf_counter()
    crops = replace(scaled(scales, tiles, tile_tissue, mpp), **measured_by(masks, artefacts, limits))
    crops = replace(crops, max_blobs=max_blobs, min_area_px=min_area, margin=margin)
    dataset = find_dataset(data)
    chosen, names = _chosen(dataset, images, only or []), picture_names(record.image for record in dataset.records)
    check_pictures("--out", out, [*(names[record.image] for record in chosen), OVERVIEW], [], dataset)
    settings = PreviewSettings(crops, stain=StainSettings.to(stain.value), seed=seed, repeats=repeats)
    done, failed = _draw(chosen, names, out, settings)
    seconds = round(time.perf_counter() - started, 3)
    for row in failed:
        note(f"Error: {row['image']}: {row['reason']}")
    if as_json:
        overview = str(out / OVERVIEW) if done else None
        print_json({"images": done, "failed": failed, "overview": overview, "seconds": seconds})
    else:
        pictures = [row["picture"] for row in done] + ([str(out / OVERVIEW)] if done else [])
        print_lines([*pictures, f"{counted(len(done), 'image')} drawn in {seconds:.1f} s"])
    if failed:
        raise typer.Exit(1)


def _chosen(dataset: Dataset, images: int, only: list[str]) -> list[ImageRecord]:
    """Choose images that can be opened, by their names or evenly spread."""
    records = [record for record in dataset.records if record.path.is_file()]
    if only:
        records = [record for record in records if any(text in record.image for text in only)]
        if not records:
            raise typer.BadParameter(
                f"no image of {dataset.root} has {' or '.join(only)} in its name", param_hint="--only"
            )
        return records
    step = max(1.0, len(records) / images)
    return [records[int(number * step)] for number in range(min(images, len(records)))]


def _draw(
    chosen: list[ImageRecord], names: dict[str, str], out: Path, settings: PreviewSettings
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Draw each image, and all of them on one sheet; one that can't be used costs only itself."""
    from featstore.errors import DataError, SettingError
    from featstore.report.previews import OVERVIEW, draw_overview, draw_preview
    from featstore.store.disk.files import make_folder

    make_folder(out)
    done, failed, tiles = [], [], []
    with progress_bar("preview") as move:
        for number, record in enumerate(chosen):
            try:
                tiles.append(draw_preview(record, out / names[record.image], settings))
                done.append({"image": record.image, "picture": str(out / names[record.image])})
            except (DataError, SettingError) as error:
                failed.append({"image": record.image, "reason": str(error)})
            move(number + 1, len(chosen), "images")
    if tiles:
        draw_overview(tiles, out / OVERVIEW)
    return done, failed
