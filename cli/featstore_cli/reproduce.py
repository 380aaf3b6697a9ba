"""``featstore reproduce``: all five systems on one dataset, beside the published figures."""

from __future__ import annotations

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
    from featstore.cnn.protocol import Protocol
    from featstore.dataset import Dataset
    from featstore.store import Store

__all__ = ["EXAMPLES", "reproduce"]

EXAMPLES = """\b
Examples:
  featstore reproduce data --quick --test-labels data/test_labels.csv
  featstore reproduce challenge/ --device cuda --seeds 3
  featstore reproduce challenge/ --store embeddings.store --network-weights timm/"""

_PUBLISHED = "published (the authors, on the challenge)"


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
    from featstore.cnn.comparison import Reproduction
    from featstore.cnn.images import choose_images
    from featstore.cnn.protocol import choose_protocol, weight_digests
    from featstore.cnn.published import TABLES, beside_published, write_tables
    from featstore.dataset import find_dataset
    from featstore.store import open_store
    from featstore_cli.workers import working_here

    started = time.perf_counter()
    _refuse(store, encoder, weights, network_weights, from_scratch=quick or from_scratch)
    check_folder("--out", out, TABLES, [data, store, test_labels])
    dataset = find_dataset(data)
    for text in dataset.warnings:
        warn(text)
    protocol = choose_protocol(
        quick=quick,
        from_scratch=from_scratch,
        network_weights=network_weights,
        outer_folds=folds,
        inner_folds=inner_folds,
        seeds=seeds,
        seed=seed,
        n_jobs=jobs,
        device=device,
        precision=precision,
    )
    digests = weight_digests(protocol)
    chosen = choose_images(dataset)
    name = encoder or ("stain-texture" if quick else "phikon-v2")
    opened = open_store(store) if store else _extracted(name, weights, device, dataset, protocol, out)
    known = _test_labels(test_labels, dataset, opened)
    comparison = Reproduction(opened, dataset.records, chosen.unusable, protocol, digests, out, known)
    with working_here(), progress_bar("reproduce") as move:
        systems, repeats = comparison.rows(lambda name, number, of: move(number, of, name))
    content = {
        "data": str(data),
        "store": str(opened.path),
        "fingerprint": opened.fingerprint,
        "version": opened.version,
        "data_digest": comparison.data_digest,
        "quick": quick,
        "encoder": opened.recipe.get("encoder", {}),
        "from_scratch": quick or from_scratch,
        "outer_folds": protocol.outer_folds,
        "seeds": seeds,
        "images": len(comparison.names),
        **beside_published(systems, repeats),
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_tables(out, content)
    print_json(content) if as_json else print_lines(_lines(content, out))


def _extracted(name: str, weights: Path | None, device: str, dataset: Dataset, protocol: Protocol, out: Path) -> Store:
    from featstore.cnn.protocol import extract_store
    from featstore.encoders import load_encoder

    encoder = load_encoder(name, weights=weights, device="auto" if name == "stain-texture" else device)
    return extract_store(dataset, encoder, protocol, out, note)


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
    from featstore.cnn.comparison import spelled_as_trained
    from featstore.dataset import read_label_csv
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
    spelled, strange = spelled_as_trained(labels, dataset.records)
    if strange:
        warn(f"test images of class {strange[0]!r}, of which there is no training image: always counted as wrong")
    return spelled


def _lines(content: dict[str, Any], out: Path) -> Iterator[str]:
    from featstore.cnn.published import TABLES

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
    yield f"{out}: {', '.join(TABLES)}; {content['seconds']:.1f} s"


def _honest(row: dict[str, Any], width: int = 10) -> str:
    figure = row["macro_f1"]
    return f"{_number(figure['mean']):>{width}}{_number(figure['ci_low']) + ' to ' + _number(figure['ci_high']):>18}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
