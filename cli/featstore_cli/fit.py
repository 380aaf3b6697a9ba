"""``featstore fit``: embeddings to an ensemble of heads."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.folds import DaskOption, JobsOption, fitted_at_a_time, fitting_on
from featstore_cli.options import StoresArgument, VersionOption, check_outputs, given_stores
from featstore_cli.output import JsonFlag, plain_errors, print_json, print_lines
from featstore_cli.progress import progress_bar
from featstore_cli.scales import ScalesOption, check_scales, read_scales
from featstore_cli.training import (
    GroupOption,
    LabelsOption,
    Preset,
    PresetOption,
    RepeatsOption,
    SeedOption,
    model_of,
    training_bags,
)

if TYPE_CHECKING:
    from featstore.store import Bags, JoinedBags
    from featstore.toolkit import FoldEnsemble

__all__ = ["EXAMPLES", "fit"]

EXAMPLES = """\b
Examples:
  featstore fit
  featstore fit embeddings.store --preset m4 --folds 5 --model small.model
  featstore fit --labels other_labels.csv --group patient
  featstore fit scales.store --scales 1:2     # blobs and what surrounds them, side by side
  featstore fit --dask tcp://host:8786
  featstore fit phikon.store uni.store --model both.model"""


def _interrupted(model: Path, **_: Any) -> str:
    return f"No model was written; one that was at {model} is as it was. Run the same command again."


@plain_errors(_interrupted)
def fit(
    stores: StoresArgument = None,
    model: Annotated[Path, typer.Option(help="The file that the model goes to.")] = Path("ensemble.model"),
    preset: PresetOption = Preset.m5,
    folds: Annotated[int, typer.Option(min=2, help="Folds, and so members of the ensemble.")] = 10,
    repeats: RepeatsOption = None,
    scales: ScalesOption = None,
    labels: LabelsOption = None,
    group: GroupOption = None,
    seed: SeedOption = 0,
    jobs: JobsOption = None,
    dask: DaskOption = None,
    store_version: VersionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Fit a ten-fold ensemble on a store's training images and write it as one file.

    Several stores of the same images, made with different encoders: the heads are fitted on each and fused.

    Twins (identical images or masks) and groups never straddle a fold. Validation scores have driven early stopping,
    temperatures and fusion: they are for comparing folds, not an estimate of the score on new data.
    """
    from featstore.store import open_store
    from featstore.toolkit import save_model

    started = time.perf_counter()
    of_scales = read_scales(scales)
    at_a_time = fitted_at_a_time(jobs, dask)
    paths = given_stores(stores, store_version)
    check_outputs({"--model": model}, [*paths, labels], as_json=as_json)
    opened = [open_store(path, version=store_version) for path in paths]
    bags = training_bags(opened, repeats, labels, group)
    check_scales(bags, opened, [of_scales])
    ensemble = model_of(preset, random_state=seed, n_splits=folds, n_jobs=at_a_time, n_views=len(opened), **of_scales)
    _fit(ensemble, bags, folds, dask)
    save_model(ensemble, model)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_as_dict(ensemble, model, seconds))
    else:
        print_lines(_lines(ensemble, model, seconds))


def _fit(ensemble: FoldEnsemble, bags: Bags | JoinedBags, folds: int, dask: str | None) -> None:
    """Fit, and show how far it is."""
    with fitting_on(dask, [bags]), progress_bar("fit") as move:
        scores: list[float] = []

        def show(score: dict[str, Any]) -> None:
            scores.append(score["val_macro_f1"])
            move(len(scores), folds, f"folds, validation macro-F1 so far {sum(scores) / len(scores):.3f}")

        ensemble.fit(bags, bags.labels, callback=show)


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
