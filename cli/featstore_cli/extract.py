"""``featstore extract``: images to embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli import extracted
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
from featstore_cli.output import JsonFlag, note, plain_errors, print_json, print_lines, unusable, warn
from featstore_cli.progress import progress_bar

if TYPE_CHECKING:
    from featstore.dataset import Dataset
    from featstore.extract import Progress, Shard
    from featstore.recipe.crops import Colour

__all__ = ["EXAMPLES", "extract"]

EXAMPLES = """\b
Examples:
  featstore extract --repeats 4
  featstore extract --repeats 8               # on a store with 4: computes four more
  featstore extract --repeats 64 --dry-run
  featstore extract slides.csv --store slides.store --encoder stain-texture
  featstore extract --store h.store --encoder timm:bioptimus/H-optimus-0   # or timm:resnet50.a1_in1k
  featstore extract --scales 1,2,4 --store scales.store     # blobs, and what surrounds them
  featstore extract slides.csv --tiles 224 --mpp 0.5 --store tiles.store
  featstore extract --shard 3/16              # the third of sixteen jobs, into one store
  featstore extract --dask tcp://host:8786    # or a scheduler file"""


def _interrupted(store: Path, dry_run: bool = False, **_: Any) -> str:
    if dry_run:
        return "Nothing was changed."
    if not store.exists():
        return "Nothing was finished yet."
    return f"What was finished is stored in {store}. Run the same command again to go on from there."


@plain_errors(_interrupted)
def extract(
    data: Annotated[
        Path, typer.Argument(help="Challenge folder, CSV of images, or plain folder of images.", show_default=True)
    ] = Path("data"),
    store: Annotated[Path, typer.Option(help="Where embeddings go; a store that is there grows.")] = Path(
        "embeddings.store"
    ),
    repeats: Annotated[int, typer.Option(min=0, help="Augmented repeats of each training crop; 0: clean only.")] = 0,
    test_repeats: Annotated[int, typer.Option(min=0, help="Augmented repeats of each test crop.")] = 0,
    encoder: Annotated[
        str, typer.Option(help="phikon-v2, stain-texture, a Hugging Face id, or timm:NAME.")
    ] = "phikon-v2",
    weights: Annotated[Path | None, typer.Option(help="Folder with the encoder's weights (safetensors).")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the weights on the hub.")] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda (all GPUs, a process each), cuda:1 (only that one) or mps.")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the model: a start of a minute or so, then somewhat faster.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Crops that go through the encoder together.", show_default="by trial")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that load images for a device; 0: none of their own.", show_default="auto"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the augmentation.")] = 0,
    max_blobs: MaxBlobsOption = 10,
    min_area: MinAreaOption = 100,
    margin: MarginOption = 0.1,
    fill: Annotated[
        str, typer.Option(help="Colour outside the tissue: three numbers from 0 to 1, or 'encoder'.")
    ] = "0.5,0.5,0.5",
    masks: MasksOption = Masks.checked,
    artefacts: ArtefactsOption = Artefacts.exclude,
    limits: LimitsOption = None,
    scales: WidthsOption = "1",
    tiles: TilesOption = None,
    tile_tissue: TileTissueOption = None,
    mpp: MppOption = None,
    stain: StainOption = Stain.none,
    dtype: Annotated[str, typer.Option(help="How embeddings are stored: float32, or float16 in half the space.")] = (
        "float32"
    ),
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only part I of N of the images, from 1/N to N/N.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Spread images over the Dask cluster at tcp://host:8786, or of this scheduler file."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what there is to do, and how long.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 if an image can't be used, other than for contamination.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Find tissue blobs, crop and augment them, embed the crops, and write the store.

    Only what is not stored yet is computed: more repeats, new images and changed images are added, and a second run
    of the same command does nothing. Work is committed every 30 seconds: a run that is killed (kill -9, a power cut)
    loses what was computed since, one that is ended by Ctrl-C loses nothing that is finished.

    Several jobs may write to one store at the same time, each with its own --shard; no merge follows.
    """
    from featstore.dataset import find_dataset
    from featstore.encoders import load_encoder
    from featstore.extract import Repeats, estimate, on_dask, on_this_machine
    from featstore.extract import extract as run
    from featstore.recipe import Recipe, StainSettings
    from featstore.store import create_store, open_store

    started = time.perf_counter()
    colour, part = _fill(fill), _shard(shard)
    more = replace(scaled(scales, tiles, tile_tissue, mpp), **measured_by(masks, artefacts, limits))
    wanted = Repeats(train=repeats, test=test_repeats)
    dataset = find_dataset(data)
    _warn_of_data(dataset, repeats)
    model = load_encoder(
        encoder, weights=weights, revision=revision, device=device, precision=precision, compiled=compiled
    )
    for text in model.notes:
        warn(text)
    crops = replace(more, max_blobs=max_blobs, min_area_px=min_area, margin=margin, fill=colour or model.fill)
    recipe = Recipe(model.settings, crops, seed=seed, stain=StainSettings.to(stain.value))
    engine = partial(on_dask, dask) if dask else on_this_machine
    settings: dict[str, Any] = {"repeats": wanted, "shard": part, "batch_size": batch_size, "workers": workers}
    writer = create_store(store, recipe.to_dict(), model.settings.dim, dtype=dtype, operation="extract")
    if dry_run:
        found = estimate(dataset, model, recipe, writer, engine=engine, dtype=dtype, **settings)
        print_json(extracted.estimate_as_dict(store, found)) if as_json else print_lines(
            extracted.estimate_lines(found)
        )
        return
    with writer, progress_bar("extract") as move:
        result = run(dataset, model, recipe, writer, engine=engine, progress=_shown_by(move, started), **settings)
    info = open_store(store).info()
    extracted.warn_of_images(store, result)
    if as_json:
        print_json(extracted.as_dict(store, info, result))
    else:
        print_lines(extracted.lines(store, info, result))
    if strict and (bad := unusable([*result.rejected, *result.incomplete])):
        note(f"Error: {bad} can't be used (--strict). All others are stored.")
        raise typer.Exit(1)


def _fill(text: str) -> Colour | None:
    """Read a colour; None stands for the encoder's own."""
    if text == "encoder":
        return None
    try:
        red, green, blue = (float(value) for value in text.split(","))
    except ValueError:
        expected = "three numbers from 0 to 1, such as 0.5,0.5,0.5, or 'encoder'"
        raise typer.BadParameter(f"{text!r} is not {expected}", param_hint="--fill") from None
    return red, green, blue


def _shard(text: str | None) -> Shard | None:
    """Read ``3/16``."""
    if text is None:
        return None
    from featstore.extract import Shard

    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise typer.BadParameter(
            f"{text!r} is no part of the images; expected 1/N to N/N, such as 3/16", param_hint="--shard"
        )
    return Shard(int(number), int(of))


def _shown_by(move: Callable[[int, int, str], None], started: float) -> Callable[[Progress], None]:
    """Make what moves the progress bar, and tells how fast embeddings come."""

    def show(done: Progress) -> None:
        rate = done.embeddings / (time.perf_counter() - started)
        move(done.images, done.of, f"images, {done.embeddings} embeddings, {rate:.0f}/s")

    return show


def _warn_of_data(dataset: Dataset, repeats: int) -> None:
    for text in dataset.warnings:
        warn(text)
    if repeats and not any(record.split == "train" for record in dataset.records):
        warn("--repeats is for training images, and these data have none: use --test-repeats to augment test images")
