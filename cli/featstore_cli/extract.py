"""``featstore extract``: images to embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.output import JsonFlag, counted, note, plain_errors, print_json, print_lines, warn
from featstore_cli.progress import progress_bar

if TYPE_CHECKING:
    from featstore.dataset import Dataset
    from featstore.extract import Extraction, Progress
    from featstore.recipe import Colour

__all__ = ["EXAMPLES", "extract"]

EXAMPLES = """\b
Examples:
  featstore extract --repeats 4
  featstore extract slides.csv --store slides.store --encoder stain-texture
  featstore extract --repeats 8   (on a store with 4: computes four more)"""

_SHOWN = 20


def _interrupted(store: Path, **_: Any) -> str:
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
    encoder: Annotated[str, typer.Option(help="phikon-v2, stain-texture, or a Hugging Face id.")] = "phikon-v2",
    weights: Annotated[Path | None, typer.Option(help="Folder with the encoder's weights (safetensors).")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the weights on the hub.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Crops that go through the encoder together.")] = 32,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that load images; 0: none of their own.", show_default="auto")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the augmentation.")] = 0,
    max_blobs: Annotated[int, typer.Option(min=1, help="At most this many blobs an image, the largest.")] = 10,
    min_area: Annotated[int, typer.Option(min=1, help="Smaller blobs are left out (px).")] = 100,
    margin: Annotated[float, typer.Option(min=0, help="Growth of a blob's box on each side.")] = 0.1,
    fill: Annotated[
        str, typer.Option(help="Colour outside the tissue: three numbers from 0 to 1, or 'encoder'.")
    ] = "0.5,0.5,0.5",
    dtype: Annotated[str, typer.Option(help="How embeddings are stored: float32, or float16 in half the space.")] = (
        "float32"
    ),
    as_json: JsonFlag = False,
) -> None:
    """Find tissue blobs, crop and augment them, embed the crops, and write the store.

    Only what is not stored yet is computed: more repeats, new images and changed images are added, and a second run
    of the same command does nothing. Work is committed every 30 seconds: a run that is killed (kill -9, a power cut)
    loses what was computed since, one that is ended by Ctrl-C loses nothing that is finished.
    """
    from joblib import cpu_count

    from featstore.dataset import find_dataset
    from featstore.encoders import load_encoder
    from featstore.extract import Repeats
    from featstore.extract import extract as run
    from featstore.recipe import CropSettings, Recipe
    from featstore.store import create_store, open_store

    started = time.perf_counter()
    colour = _fill(fill)
    wanted = Repeats(train=repeats, test=test_repeats)
    dataset = find_dataset(data)
    _warn_of_data(dataset, repeats)
    model = load_encoder(encoder, weights=weights, revision=revision, device=device, precision=precision)
    for text in model.notes:
        warn(text)
    crops = CropSettings(max_blobs, min_area, margin, colour or model.fill)
    recipe = Recipe(model.settings, crops, seed=seed)
    count = min(8, cpu_count()) if workers is None else workers
    with (
        create_store(store, recipe.to_dict(), model.settings.dim, dtype=dtype, operation="extract") as writer,
        progress_bar("extract") as move,
    ):
        show = _shown_by(move, started)
        result = run(
            dataset, model, recipe, writer, repeats=wanted, batch_size=batch_size, workers=count, progress=show
        )
    info = open_store(store).info()
    _warn_of_images(store, result)
    if as_json:
        print_json(_as_dict(store, info, result))
    else:
        print_lines(_lines(store, info, result))


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


def _warn_of_images(store: Path, result: Extraction) -> None:
    if result.replaced:
        warn(
            f"{counted(result.replaced, 'image')} had changed: what was computed from the old content no longer counts"
        )
    if result.absent:
        names = ", ".join(result.absent[:5])
        found = f"{counted(len(result.absent), 'image')} in {store} no longer in the data ({names})"
        warn(f"{found}: they stay in use; a store made anew is without them")
    _warn_of_rows(result.rejected, "left out")
    _warn_of_rows(result.fallbacks, "cropped without a usable mask")


def _warn_of_rows(rows: list[dict[str, str]], what: str) -> None:
    if not rows:
        return
    warn(f"{counted(len(rows), 'image')} {what}:")
    for row in rows[:_SHOWN]:
        note(f"  {row['image']}: {row.get('reason') or row['source']} ({row['note']})")
    if len(rows) > _SHOWN:
        note(f"  and {len(rows) - _SHOWN} more; --json lists all")


def _as_dict(store: Path, info: dict[str, Any], result: Extraction) -> dict[str, Any]:
    return {
        "store": str(store),
        "version": result.version,
        "fingerprint": info["fingerprint"],
        "images": result.images,
        "rejected": result.rejected,
        "fallbacks": result.fallbacks,
        "absent": result.absent,
        "blobs": result.blobs,
        "embeddings": info["embeddings"],
        "computed": result.computed,
        "seconds": round(result.seconds, 3),
        "stages": {name: round(seconds, 3) for name, seconds in sorted(result.stages.items())},
    }


def _lines(store: Path, info: dict[str, Any], result: Extraction) -> list[str]:
    return [
        f"{store}: version {result.version}, fingerprint {info['fingerprint'][:12]}",
        f"  {counted(result.images, 'image')}, {counted(result.blobs, 'blob')}, {len(result.rejected)} left out",
        f"  {info['embeddings']} embeddings of {info['dim']} numbers, {result.computed} of them computed now",
        f"  {result.seconds:.1f} s",
    ]
