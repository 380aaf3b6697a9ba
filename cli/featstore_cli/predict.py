"""``featstore predict``: a model and a store to a CSV of predictions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.options import SplitOrAll, StoresArgument, VersionOption, check_outputs, given_stores
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines, warn

if TYPE_CHECKING:
    from featstore.toolkit.predictions import Prediction

__all__ = ["EXAMPLES", "predict", "refuse_networks"]

EXAMPLES = """\b
Examples:
  featstore predict
  featstore predict ensemble.model embeddings.store --submission submission.csv
  featstore predict --tta
  featstore predict both.model phikon.store uni.store"""


def _interrupted(out: Path, **_: Any) -> str:
    return f"A file that was at {out} is as it was. Run the same command again."


@plain_errors(_interrupted)
def predict(
    model: Annotated[Path, typer.Argument(help="A file that fit wrote.")] = Path("ensemble.model"),
    stores: StoresArgument = None,
    out: Annotated[Path, typer.Option(help="CSV of labels, confidences and probabilities.")] = Path("predictions.csv"),
    submission: Annotated[Path | None, typer.Option(help="CSV of just sample_index,label, as well.")] = None,
    split: Annotated[SplitOrAll, typer.Option(help="Which images.")] = SplitOrAll.test,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over the stored repeats too: test-time augmentation.")
    ] = False,
    store_version: VersionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Predict a label for every image of a split, in the order of the input.

    An image without a usable blob gets the class prior; its row says so in the column ``note``.
    """
    from featstore.store import open_store
    from featstore.toolkit import load_model
    from featstore.toolkit.predictions import predict_images, write_predictions, write_submission

    started = time.perf_counter()
    paths = given_stores(stores, store_version)
    check_outputs({"--out": out, "--submission": submission}, [model, *paths], as_json=as_json)
    refuse_networks(model)
    ensemble = load_model(model)
    opened = [open_store(path, version=store_version) for path in paths]
    predictions = predict_images(ensemble, opened, split.value, tta=tta)
    write_predictions(out, predictions, ensemble.classes_, keys=split is SplitOrAll.all)
    if submission is not None:
        write_submission(submission, predictions)
    if any(prediction.row.split == "train" for prediction in predictions):
        warn("training images may have been seen in fitting: predictions of those say nothing about new images")
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_as_dict(out, submission, predictions, seconds))
    else:
        print_lines(_lines(out, submission, predictions))


def refuse_networks(model: Path) -> None:
    """Refuse a file of fine-tuned networks, where a store's model is asked for."""
    from featstore.errors import ModelFormatError
    from featstore.toolkit.archive import is_safetensors

    if is_safetensors(model):
        raise ModelFormatError(
            f"{model} holds fine-tuned networks, which predict from images, not from a store",
            remedy="featstore baseline writes predictions with --out; featstore.cnn.load_networks reads the file.",
        )


def _as_dict(out: Path, submission: Path | None, predictions: Sequence[Prediction], seconds: float) -> dict[str, Any]:
    return {
        "out": str(out),
        "submission": str(submission) if submission else None,
        "images": len(predictions),
        "noted": _noted(predictions),
        "labels": dict(sorted(Counter(prediction.label for prediction in predictions).items())),
        "seconds": round(seconds, 3),
    }


def _lines(out: Path, submission: Path | None, predictions: Sequence[Prediction]) -> Iterator[str]:
    noted = _noted(predictions)
    yield f"{out}: {counted(len(predictions), 'image')}" + (f", {noted} with a note" if noted else "")
    for label, count in Counter(prediction.label for prediction in predictions).most_common():
        yield f"  {label}: {count}"
    if submission:
        yield f"{submission}: the same labels, for submission"


def _noted(predictions: Sequence[Prediction]) -> int:
    return sum(bool(prediction.note) for prediction in predictions)
