"""``featstore reproduce``: all five systems on one dataset, beside the published figures."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.baseline import DeviceOption, FromScratchOption, PrecisionOption
from featstore_cli.options import check_folder
from featstore_cli.output import (
    JsonFlag,
    counted,
    note,
    plain_errors,
    print_json,
    print_lines,
    warn,
    warn_of_names,
)
from featstore_cli.progress import progress_bar
from featstore_cli.training import SeedOption

if TYPE_CHECKING:
    from featstore.cnn.comparison import Protocol
    from featstore.dataset import Dataset
    from featstore.store import Store

__all__ = ["EXAMPLES", "reproduce"]

EXAMPLES = """\b
Examples:
  featstore reproduce data --quick --test-labels data/test_labels.csv
  featstore reproduce challenge/ --device cuda --seeds 3
  featstore reproduce challenge/ --store embeddings.store --network-weights timm/"""

_FILES = ("comparison.csv", "repeats.csv", "reproduction.json")

_PUBLISHED = "published (the authors, on the challenge)"

_QUICK = {"max_epochs": 8, "patience": 8, "from_scratch": True, "body_lr": 1.0, "frozen_epochs": 0, "batch_size": 16}
_QUICK_NETWORKS: dict[str, dict[str, Any]] = {
    "m1": {"image_size": 96},
    "m2": {"image_size": 64, "n_splits": 2},
    "m3": {"image_size": 64, "n_splits": 2},
}


def _interrupted(out: Path, **_: Any) -> str:
    if not out.is_dir():
        return "Nothing was written yet. Run the same command again."
    return f"Finished rows, and the last checkpoints, are in {out}. Run the same command again to go on."


@plain_errors(_interrupted)
def reproduce(
    data: Annotated[Path, typer.Argument(help="A challenge folder, a CSV of images, or a folder.")] = Path("data"),
    out: Annotated[Path, typer.Option(help="Folder for tables, rows, checkpoints and the store.")] = Path(
        "reproduction"
    ),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Small pictures, few epochs and folds, from scratch, stain-texture: minutes."),
    ] = False,
    test_labels: Annotated[
        Path | None, typer.Option(help="CSV of sample_index,label of the test images.", show_default=False)
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="A store of these data to use.", show_default="extracted into the folder")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder to extract with.", show_default="phikon-v2; --quick: stain-texture")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder of the encoder's weights.", show_default=False)] = None,
    network_weights: Annotated[
        Path | None,
        typer.Option(help="Folder with a folder m1, m2 and m3 of weights.", show_default="the hub, or its cache"),
    ] = None,
    from_scratch: FromScratchOption = False,
    folds: Annotated[int | None, typer.Option(min=2, help="Outer folds.", show_default="5; --quick: 3")] = None,
    inner_folds: Annotated[
        int | None, typer.Option(min=2, help="Members of M4 and M5.", show_default="10; --quick: 5")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions with other folds.")] = 1,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Outer folds at a time.", show_default="cores; 1 on a GPU")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run the five systems of the published comparison on one dataset, by one honest protocol.

    M1 to M3 are fine-tuned on the images, M4 and M5 fitted on a store. Beside each system's best validation fold, which
    is how the published table was made, stands its score by nested cross-validation. A run that was stopped goes on.
    """
    from featstore.cnn.comparison import Reproduction, require_weights
    from featstore.cnn.images import choose_images
    from featstore.dataset import find_dataset
    from featstore_cli.workers import fitting_here

    started = time.perf_counter()
    _refuse(store, encoder, weights, network_weights, from_scratch=quick or from_scratch)
    check_folder("--out", out, _FILES, [data, store, test_labels])
    dataset = find_dataset(data)
    for text in dataset.warnings:
        warn(text)
    protocol = _protocol(quick, folds, inner_folds, seeds, seed, jobs, device, precision, from_scratch, network_weights)
    require_weights(protocol)
    chosen = choose_images(dataset)
    opened = _store(
        store, out, dataset, encoder or ("stain-texture" if quick else "phikon-v2"), weights, device, protocol
    )
    known = _test_labels(test_labels, dataset, opened)
    comparison = Reproduction(opened, dataset.records, chosen.unusable, protocol, out, known)
    with fitting_here(), progress_bar("reproduce") as move:
        systems, repeats = comparison.rows(lambda name, number, of: move(number, of, name))
    content = {
        "data": str(data),
        "quick": quick,
        "encoder": opened.recipe.get("encoder", {}),
        "from_scratch": quick or from_scratch,
        "outer_folds": protocol.outer_folds,
        "seeds": seeds,
        "images": len(comparison.names),
        "systems": [_beside(row) for row in systems],
        "repeats": [_beside_repeats(row) for row in repeats],
        "seconds": round(time.perf_counter() - started, 1),
    }
    _write(out, content)
    print_json(content) if as_json else print_lines(_lines(content, out))


def _protocol(
    quick: bool,
    folds: int | None,
    inner_folds: int | None,
    seeds: int,
    seed: int,
    jobs: int | None,
    device: str,
    precision: str,
    from_scratch: bool,
    network_weights: Path | None,
) -> Protocol:
    from joblib import cpu_count

    from featstore.cnn.comparison import SYSTEMS, Protocol
    from featstore.encoders.device import require_known, resolve_device

    require_known(device, precision)
    found = resolve_device(device)
    networks: dict[str, Any] = {"device": found, "precision": precision}
    by_network: dict[str, dict[str, Any]] = {}
    if from_scratch:
        networks |= {"from_scratch": True, "body_lr": 1.0, "frozen_epochs": 0}
    elif network_weights is not None and not quick:
        by_network = {name: {"weights": network_weights / name} for name in SYSTEMS if name in ("m1", "m2", "m3")}
    at_a_time = jobs or (int(cpu_count()) if found == "cpu" else 1)
    return Protocol(
        folds or (3 if quick else 5),
        seeds,
        seed,
        inner_folds=inner_folds or (5 if quick else 10),
        networks=networks | (_QUICK if quick else {}),
        by_network=_QUICK_NETWORKS if quick else by_network,
        n_jobs=at_a_time,
    )


def _store(
    given: Path | None, out: Path, dataset: Dataset, encoder: str, weights: Path | None, device: str, protocol: Protocol
) -> Store:
    """Open the store that is given, or extract one into the folder; one that is complete is left as it is."""
    from featstore.encoders import load_encoder
    from featstore.extract import Repeats, extract, on_this_machine
    from featstore.recipe import Recipe
    from featstore.store import create_store, open_store

    if given is not None:
        return open_store(given)
    model = load_encoder(encoder, weights=weights, device="auto" if encoder == "stain-texture" else device)
    recipe = Recipe(model.settings, seed=protocol.seed)
    path = out / f"embeddings-{recipe.fingerprint[:12]}.store"
    note(f"Extracting with {encoder}, {max(protocol.repeats)} repeats, into {path}")
    with create_store(path, recipe.to_dict(), model.settings.dim, operation="extract") as writer:
        repeats = Repeats(train=max(protocol.repeats))
        extract(dataset, model, recipe, writer, repeats=repeats, engine=on_this_machine)
    return open_store(path)


def _refuse(
    store: Path | None, encoder: str | None, weights: Path | None, network_weights: Path | None, *, from_scratch: bool
) -> None:
    """Refuse options that would be ignored."""
    if store is not None and (encoder is not None or weights is not None):
        hint = "--weights" if encoder is None else "--encoder"
        raise typer.BadParameter("means nothing with --store, which is extracted already", param_hint=hint)
    if from_scratch and network_weights is not None:
        raise typer.BadParameter("means nothing where networks start from scratch", param_hint="--network-weights")


def _test_labels(path: Path | None, dataset: Dataset, store: Store) -> dict[str, str]:
    """Read the test images' labels, by key: from a CSV, or else from the dataset; in the training labels' spelling."""
    from featstore.dataset import join_spellings, read_label_csv
    from featstore.store import match_names

    labels = {record.image: record.label for record in dataset.records if record.split == "test" and record.label}
    if path is not None:
        table = read_label_csv(path)
        for text in table.warnings:
            warn(text)
        test = {key: row for key, row in store.images.items() if row.split == "test"}
        rows = {row.sample_index: row.label for row in table.rows if row.label}
        match = match_names(test, rows)
        warn_of_names(match, store.path)
        labels = {key: rows[name] for name, key in match.keys.items()}
    training = [record.label for record in dataset.records if record.split == "train" and record.label]
    joined, _ = join_spellings([*training, *labels.values()])
    known = set(joined[: len(training)])
    spelled = dict(zip(labels, joined[len(training) :], strict=True))
    if strange := sorted(set(spelled.values()) - known):
        warn(f"test images of class {strange[0]!r}, of which there is no training image: always counted as wrong")
    return spelled


def _beside(row: dict[str, Any]) -> dict[str, Any]:
    """Put the published figures beside those of a system."""
    from featstore.cnn.comparison import PUBLISHED, SYSTEMS

    accuracy, validation, test = PUBLISHED[row["system"]]
    published = {"val_accuracy": accuracy, "val_macro_f1": validation, "test_macro_f1": test}
    return {**row, "what": SYSTEMS[row["system"]], "published": published}


def _beside_repeats(row: dict[str, Any]) -> dict[str, Any]:
    from featstore.cnn.comparison import PUBLISHED_REPEATS

    return {**row, "published": {"test_macro_f1": PUBLISHED_REPEATS.get(row["repeats"])}}


def _write(out: Path, content: dict[str, Any]) -> None:
    from featstore.store.disk.files import write_atomically

    write_atomically(out / "reproduction.json", json.dumps(content, indent=2).encode())
    for name, rows in (("comparison.csv", content["systems"]), ("repeats.csv", content["repeats"])):
        flat = [_flat(row) for row in rows]
        text = io.StringIO(newline="")
        lines = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
        lines.writeheader()
        lines.writerows(flat)
        write_atomically(out / name, text.getvalue().encode())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name}_{inner}": each for inner, each in value.items()}
        else:
            flat[name] = value
    return flat


def _lines(content: dict[str, Any], out: Path) -> Iterator[str]:
    start = "from scratch" if content["from_scratch"] else "pretrained"
    yield (
        f"{content['data']}: {counted(content['images'], 'training image')}; networks {start}; "
        f"{content['outer_folds']} outer folds, {counted(content['seeds'], 'seed')}"
    )
    yield ""
    yield f"{'':4}{'best fold':>22}{'nested cross-validation':>28}{'test':>8}   {_PUBLISHED:>42}"
    yield (
        f"{'':4}{'accuracy':>11}{'macro-F1':>11}{'macro-F1':>10}{'95%':>18}{'F1':>8}   "
        f"{'val accuracy':>14}{'val macro-F1':>14}{'test F1':>14}"
    )
    for row in content["systems"]:
        known = row["published"]
        yield (
            f"{row['system']:4}{_number(row['val_accuracy']):>11}{_number(row['val_macro_f1']):>11}{_honest(row)}"
            f"{_number(row['test_macro_f1']):>8}   {_number(known['val_accuracy']):>14}"
            f"{_number(known['val_macro_f1']):>14}{_number(known['test_macro_f1']):>14}"
        )
    yield ""
    yield f"{'m5, repeats':12}{'macro-F1':>14}{'95%':>18}{'test F1':>10}{'published test F1':>20}"
    for row in content["repeats"]:
        yield (
            f"{row['repeats']:<12}{_honest(row, 14)}{_number(row['test_macro_f1']):>10}"
            f"{_number(row['published']['test_macro_f1']):>20}"
        )
    yield ""
    yield "The best of some validation folds has been chosen for being best: it promises more than new images keep."
    yield f"{out}: {', '.join(_FILES)}; {content['seconds']:.1f} s"


def _honest(row: dict[str, Any], width: int = 10) -> str:
    figure = row["macro_f1"]
    return f"{_number(figure['mean']):>{width}}{_number(figure['ci_low']) + ' to ' + _number(figure['ci_high']):>18}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
