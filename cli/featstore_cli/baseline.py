"""``featstore baseline``: one of the fine-tuned systems, on the images themselves."""

from __future__ import annotations

import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.options import check_folder, check_outputs
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines, warn
from featstore_cli.progress import progress_bar
from featstore_cli.training import SeedOption

if TYPE_CHECKING:
    from featstore.cnn import Chosen, ImageClassifier, Progress
    from featstore.toolkit.predictions import Prediction

__all__ = ["EXAMPLES", "DeviceOption", "FromScratchOption", "PrecisionOption", "baseline"]

EXAMPLES = """\b
Examples:
  featstore baseline m1
  featstore baseline m3 data --model m3.model --device cuda
  featstore baseline m2 data --weights efficientnet_b0/
  featstore baseline m2 data --from-scratch --image-size 96 --epochs 5"""

DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")]
FromScratchOption = Annotated[
    bool, typer.Option("--from-scratch", help="Start from random weights: for trials, and the curious.")
]


class System(StrEnum):
    """The fine-tuned systems."""

    m1 = "m1"
    m2 = "m2"
    m3 = "m3"


def _interrupted(system: System, model: Path | None, checkpoints: Path | None, **_: Any) -> str:
    model = model or Path(f"{system.value}.model")
    where = checkpoints or _beside(model)
    if not where.is_dir():
        return "Nothing was written yet. Run the same command again."
    return f"The last checkpoint is in {where}. Run the same command again to go on."


@plain_errors(_interrupted)
def baseline(
    system: Annotated[System, typer.Argument(help="m1: InceptionV3. m2: EfficientNet-B0. m3: EfficientNet-B1.")],
    data: Annotated[Path, typer.Argument(help="A challenge folder, a CSV of images, or a folder.")] = Path("data"),
    model: Annotated[
        Path | None, typer.Option(help="The file that the networks go to.", show_default="m1.model and so on")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV of the test images' labels and probabilities.", show_default=False)
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A folder with config.json and model.safetensors.", show_default="the hub, or its cache"),
    ] = None,
    from_scratch: FromScratchOption = False,
    folds: Annotated[
        int | None, typer.Option(min=1, help="Networks; 1 holds a part out.", show_default="1, or 5 for m2 and m3")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="At most so many.")] = 30,
    patience: Annotated[int, typer.Option(min=1, help="Stop after so many epochs without a better loss.")] = 8,
    image_size: Annotated[
        int | None, typer.Option(min=32, help="Side of the pictures (px).", show_default="the network's own")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step; fewer at a time if memory is short.")] = 32,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate of the classifier on top; a tenth below.")] = 1e-3,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Networks trained at a time, each on one core.")] = 1,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of checkpoints.", show_default="beside the model")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fine-tune M1, M2 or M3 on the images, with their masks as a fourth channel.

    These are what embeddings of a frozen encoder are compared with. A run that was stopped goes on when the same
    command is given again. Validation scores have driven early stopping: featstore reproduce estimates honest ones.
    """
    from featstore.cnn import PRESETS, choose_images, predict_records, save_networks
    from featstore.dataset import find_dataset
    from featstore.toolkit.predictions import write_predictions
    from featstore_cli.workers import working_here

    started = time.perf_counter()
    model = model or Path(f"{system.value}.model")
    check_outputs({"--model": model, "--out": out}, [data, weights], as_json=as_json)
    folder = checkpoints or _beside(model)
    check_folder("--checkpoints", folder, (), [data, weights])
    settings: dict[str, Any] = {"max_epochs": epochs, "patience": patience, "image_size": image_size, "lr": lr}
    settings |= {"batch_size": batch_size, "device": device, "precision": precision, "n_jobs": jobs}
    settings |= {"weights": weights, "from_scratch": from_scratch, "checkpoints": folder}
    if folds is not None:
        settings["n_splits"] = folds
    if from_scratch:
        settings |= {"body_lr": 1.0, "frozen_epochs": 0}
    networks = PRESETS[system.value](random_state=seed, **settings)
    dataset = find_dataset(data)
    for text in dataset.warnings:
        warn(text)
    chosen = choose_images(dataset)
    labels = [record.label for record in chosen.training]
    with working_here(), progress_bar(system.value) as move:
        networks.fit(chosen.training, labels, callback=_shown_on(move))
    test = [record for record in dataset.records if record.split == "test"]
    predictions = predict_records(networks, test, chosen.unusable) if out is not None else []
    if out is not None:
        write_predictions(out, predictions, networks.classes_.tolist(), keys=False)
    save_networks(networks, model)
    if checkpoints is None:
        remove_checkpoints(folder)
    for text in networks.notes_:
        warn(text)
    content = _as_dict(system, model, out, networks, chosen, predictions)
    content |= {"seconds": round(time.perf_counter() - started, 3)}
    print_json(content) if as_json else print_lines(_lines(content))


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a training that is through, and their folder if nothing else is in it.

    So goes what was left half-written where the training was killed on the way.
    """
    from featstore.store.disk.files import TEMPORARY

    for pattern in ("*-fold-*.safetensors", f"{TEMPORARY}*"):
        for path in folder.glob(pattern):
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _beside(model: Path) -> Path:
    return model.with_name(f"{model.name}.checkpoints")


def _shown_on(move: Any) -> Any:
    def show(done: Progress) -> None:
        epochs = (done.fold - 1) * done.epochs + done.epoch
        loss = "" if done.validation_loss != done.validation_loss else f", validation loss {done.validation_loss:.3f}"
        move(epochs, done.folds * done.epochs, f"epochs at most, network {done.fold} of {done.folds}{loss}")

    return show


def _as_dict(
    system: System,
    model: Path,
    out: Path | None,
    networks: ImageClassifier,
    chosen: Chosen,
    predictions: list[Prediction],
) -> dict[str, Any]:
    rejected = {**chosen.unusable, **{image: f"contaminated: {why}" for image, why in networks.left_out_}}
    return {
        "system": system.value,
        "model": str(model),
        "network": networks.network_.name,
        "from_scratch": networks.from_scratch,
        "image_size": networks.network_.side_px,
        "classes": [str(name) for name in networks.classes_],
        "images": len(networks.folds_) - len(networks.left_out_),
        "rejected": [{"image": image, "reason": why} for image, why in rejected.items()],
        "folds": networks.fold_scores_,
        "oof_macro_f1": networks.oof_macro_f1_,
        "oof_accuracy": networks.oof_accuracy_,
        "out": str(out) if out else None,
        "labels": dict(sorted(Counter(prediction.label for prediction in predictions).items())),
    }


def _lines(content: dict[str, Any]) -> list[str]:
    start = "from scratch" if content["from_scratch"] else "pretrained"
    rows = [
        f"{s['fold']:>4}  {s['val_macro_f1']:>12.3f}  {s['val_accuracy']:>12.3f}  {s['best_epoch']:>4} of {s['epochs']}"
        for s in content["folds"]
    ]
    said = [
        f"{content['system']}: {content['network']}, {start}, pictures of {content['image_size']} px",
        f"  {counted(content['images'], 'training image')}, {len(content['rejected'])} left out",
        "fold  val macro-F1  val accuracy  best epoch",
        *rows,
        f"all validation images: macro-F1 {content['oof_macro_f1']:.3f}, accuracy {content['oof_accuracy']:.3f}",
    ]
    if content["out"]:
        said.append(f"{content['out']}: {counted(sum(content['labels'].values()), 'test image')}")
    return [*said, f"{content['model']}: written in {content['seconds']:.1f} s"]
