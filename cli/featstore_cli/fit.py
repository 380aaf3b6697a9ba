"""``featstore fit``: embeddings to an ensemble of heads."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.folds import DaskOption, JobsOption, fitted_at_a_time, fitting_on
from featstore_cli.options import VersionOption
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines, warn, warn_of_names
from featstore_cli.progress import progress_bar

if TYPE_CHECKING:
    from featstore.store import Bags, Store
    from featstore.toolkit import FoldEnsemble

__all__ = ["EXAMPLES", "fit"]

EXAMPLES = """\b
Examples:
  featstore fit
  featstore fit embeddings.store --preset m4 --folds 5 --model small.model
  featstore fit --labels other_labels.csv --group patient
  featstore fit --dask tcp://host:8786"""


class Preset(StrEnum):
    """The presets of the toolkit."""

    m4 = "m4"
    m5 = "m5"


def _interrupted(model: Path, **_: Any) -> str:
    return f"No model was written; one that was at {model} is as it was. Run the same command again."


@plain_errors(_interrupted)
def fit(
    store: Annotated[Path, typer.Argument(help="The store to learn from.")] = Path("embeddings.store"),
    model: Annotated[Path, typer.Option(help="The file that the model goes to.")] = Path("ensemble.model"),
    preset: Annotated[
        Preset, typer.Option(help="m4: an MLP on image means. m5: an MLP on blobs fused with XGBoost.")
    ] = Preset.m5,
    folds: Annotated[int, typer.Option(min=2, help="Folds, and so members of the ensemble.")] = 10,
    repeats: Annotated[
        int | None, typer.Option(min=0, help="Use repeats up to this one.", show_default="all that are stored")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV of sample_index,label to use instead.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Column of --labels whose equal values stay in one fold (patient, slide).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of folds and heads.")] = 0,
    jobs: JobsOption = None,
    dask: DaskOption = None,
    store_version: VersionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Fit a ten-fold ensemble on a store's training images and write it as one file.

    Twins (identical images or masks) and groups never straddle a fold. Validation scores have driven early stopping,
    temperatures and fusion: they are for comparing folds, not an estimate of the score on new data.
    """
    from featstore.store import open_store
    from featstore.store.disk.files import check_target
    from featstore.toolkit import m4, m5, save_model

    started = time.perf_counter()
    at_a_time = fitted_at_a_time(jobs, dask)
    source = open_store(store, version=store_version)
    check_target(model)
    bags = _bags(source, repeats, labels, group)
    _check_bags(bags, store)
    ensemble = {"m4": m4, "m5": m5}[preset.value](random_state=seed, n_splits=folds, n_jobs=at_a_time)
    _fit(ensemble, bags, folds, dask)
    save_model(ensemble, model)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_as_dict(ensemble, model, seconds))
    else:
        print_lines(_lines(ensemble, model, seconds))


def _check_bags(bags: Bags, store: Path) -> None:
    """Refuse a store without labelled images of two classes, and warn where some have fewer repeats."""
    from featstore.errors import LabelError

    if not len(bags):
        raise LabelError(
            f"{store} has no labelled training images",
            remedy="Label some: featstore store label CSV, or featstore fit --labels CSV (columns sample_index,label).",
        )
    if len(classes := set(bags.labels.tolist())) == 1:
        raise LabelError(
            f"{store}: one class, {classes.pop()!r}, in {counted(len(bags), 'label')}",
            expected="two classes or more",
            remedy="Label others: featstore store label CSV, or featstore fit --labels CSV.",
        )
    if bags.lacking_repeats:
        warn(
            f"{counted(bags.lacking_repeats, 'image')} of {len(bags)} have fewer repeats than others; "
            f"to complete them: featstore extract DATA --store {store} --repeats {max(bags.repeats)}"
        )


def _fit(ensemble: FoldEnsemble, bags: Bags, folds: int, dask: str | None) -> None:
    """Fit, and show how far it is."""
    with fitting_on(dask, [bags]), progress_bar("fit") as move:
        scores: list[float] = []

        def show(score: dict[str, Any]) -> None:
            scores.append(score["val_macro_f1"])
            move(len(scores), folds, f"folds, validation macro-F1 so far {sum(scores) / len(scores):.3f}")

        ensemble.fit(bags, bags.labels, callback=show)


def _bags(store: Store, repeats: int | None, labels: Path | None, group: str | None) -> Bags:
    if labels is not None:
        return _bags_labelled_by(labels, store, repeats, group)
    if group not in {None, "group"}:
        raise typer.BadParameter("needs --labels with a CSV that has this column", param_hint="--group")
    return store.bags("train", repeats=repeats)


def _bags_labelled_by(labels: Path, store: Store, repeats: int | None, group: str | None) -> Bags:
    """Take labels, and groups where a column is named, from a CSV instead of the store."""
    from featstore.dataset.labels import read_label_csv
    from featstore.store import match_names

    table = read_label_csv(labels)
    for text in table.warnings:
        warn(text)
    if group and group not in table.columns:
        found = f"{labels} has no column {group!r} but {', '.join(table.columns)}"
        raise typer.BadParameter(found, param_hint="--group")
    rows = {row.sample_index: row for row in table.rows}
    match = match_names(store.images, rows)
    warn_of_names(match, store.path)
    return store.bags(
        "train" if store.usable("train") else "all",
        repeats=repeats,
        labels={key: rows[name].label for name, key in match.keys.items()},
        groups={key: rows[name].cells.get(group, "") for name, key in match.keys.items()} if group else None,
        labelled=True,
    )


def _as_dict(ensemble: FoldEnsemble, path: Path, seconds: float) -> dict[str, Any]:
    return {
        "model": str(path),
        "classes": [str(name) for name in ensemble.classes_],
        "folds": ensemble.fold_scores_,
        "oof_macro_f1": ensemble.oof_macro_f1_,
        "oof_accuracy": ensemble.oof_accuracy_,
        "seconds": round(seconds, 3),
    }


def _lines(ensemble: FoldEnsemble, path: Path, seconds: float) -> list[str]:
    scores = [f"{s['fold']:>4}  {s['val_macro_f1']:>12.3f}  {s['val_accuracy']:>12.3f}" for s in ensemble.fold_scores_]
    return [
        "fold  val macro-F1  val accuracy",
        *scores,
        f"out-of-fold macro-F1 {ensemble.oof_macro_f1_:.3f}, accuracy {ensemble.oof_accuracy_:.3f} "
        f"({len(ensemble.classes_)} classes, {len(ensemble.oof_probabilities_)} images)",
        f"{path}: written in {seconds:.1f} s",
    ]
