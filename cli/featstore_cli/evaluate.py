"""``featstore evaluate``: how well a preset does on images that it has not seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.folds import DaskOption, JobsOption, OuterFoldsOption, fitted_at_a_time, fitting_on, shown_on
from featstore_cli.options import StoresArgument, VersionOption, check_outputs, given_stores, nothing_written
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines
from featstore_cli.progress import progress_bar
from featstore_cli.scales import ScalesOption, check_scales, read_scales
from featstore_cli.training import (
    GroupOption,
    LabelsOption,
    Preset,
    PresetOption,
    RepeatsOption,
    SeedOption,
    aligned_bags,
    model_of,
    training_bags,
    warn_of_few_groups,
)

if TYPE_CHECKING:
    from featstore.evaluate import Comparison

__all__ = ["EXAMPLES", "evaluate"]

EXAMPLES = """\b
Examples:
  featstore evaluate
  featstore evaluate embeddings.store --preset m4 --seeds 5
  featstore evaluate --against-preset m4
  featstore evaluate scales.store --scales 1:2 --against-scales 1 --seeds 3
  featstore evaluate scales.store --scales 1:2 --against embeddings.store
  featstore evaluate new.store --against old.store --seeds 3"""

_NAMES = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "log_loss": "log-loss",
}


@plain_errors(nothing_written)
def evaluate(
    stores: StoresArgument = None,
    preset: PresetOption = Preset.m5,
    folds: OuterFoldsOption = 10,
    inner_folds: Annotated[
        int, typer.Option(min=2, help="Folds of the ensemble that is fitted in each outer fold.")
    ] = 7,
    repeats: RepeatsOption = None,
    scales: ScalesOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions with other folds and other seeds.")] = 1,
    seed: SeedOption = 0,
    labels: LabelsOption = None,
    group: GroupOption = None,
    against: Annotated[
        Path | None, typer.Option(help="Another store of the same images, to compare with.", show_default=False)
    ] = None,
    against_preset: Annotated[Preset | None, typer.Option(help="Another preset, to compare with.")] = None,
    against_scales: Annotated[
        str | None,
        typer.Option(
            metavar="1",
            help="Other scales, to compare with: of the store of --against, or of the same one.",
            show_default="all of --against, else --scales",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV of each image's predictions, as well.")] = None,
    jobs: JobsOption = None,
    dask: DaskOption = None,
    store_version: VersionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Estimate the score on images that the model has not seen, by nested cross-validation.

    In each outer fold the whole ensemble is fitted anew on the other folds' images: nothing it chooses has seen the
    images that it is scored on. Intervals are 95% bootstraps over images; groups and twins stay together in all of it.
    """
    from featstore.evaluate import Candidate, compare, cross_validate_nested
    from featstore.evaluate.estimate import without_nan
    from featstore.store import open_store

    started = time.perf_counter()
    of_scales = read_scales(scales)
    compared_scales = scales if against is None and against_scales is None else against_scales
    other_scales = read_scales(compared_scales, "--scales" if against_scales is None else "--against-scales")
    at_a_time = fitted_at_a_time(jobs, dask)
    paths = given_stores(stores, store_version)
    check_outputs({"--out": out}, [*paths, labels, against], as_json=as_json)
    store = " + ".join(map(str, paths))
    opened = [open_store(path, version=store_version) for path in paths]
    others = opened if against is None else [open_store(against)]
    bags = [training_bags(opened, repeats, labels, group)]
    check_scales(bags[0], opened, [of_scales])
    models = [model_of(preset, n_splits=inner_folds, n_views=len(opened), **of_scales)]
    if against is not None or against_preset is not None or against_scales is not None:
        bags.append(bags[0] if against is None else training_bags(others, repeats, labels, group))
        check_scales(bags[1], others, [other_scales], "--against-scales")
        other = model_of(against_preset or preset, n_splits=inner_folds, n_views=len(others), **other_scales)
        models.append(other)
    aligned = aligned_bags(bags, [*opened, *others])
    warn_of_few_groups(aligned[0])
    candidates = [Candidate("", model, X) for model, X in zip(models, aligned, strict=True)]
    with fitting_on(dask, [candidate.X for candidate in candidates]), progress_bar("evaluate") as move:
        found, *compared = cross_validate_nested(
            candidates,
            n_splits=folds,
            n_seeds=seeds,
            random_state=seed,
            n_jobs=at_a_time,
            callback=shown_on(move),
        )
    comparison = without_nan(compare(found, compared[0])) if compared else None
    content = {"store": store, "preset": preset.value, "scales": scales, "inner_folds": inner_folds, **found.to_dict()}
    content |= {"fingerprint": "+".join(each.fingerprint for each in opened)}
    content |= {"versions": [each.version for each in opened], "repeats": max(aligned[0].repeats)}
    content |= {"labels": None if labels is None else str(labels), "group": group}
    content |= {"seconds": round(time.perf_counter() - started, 3)}
    try:
        if out is not None:
            found.write_csv(out)
    finally:  # a full disk costs the file, not the figures
        if as_json:
            print_json(content | ({"comparison": comparison, "against_scales": compared_scales} if comparison else {}))
        else:
            beside = f", scales {compared_scales}" if compared_scales else ""
            told = f"{against or store}, {(against_preset or preset).value}{beside}"
            print_lines(_lines(content, comparison, told))


def _lines(content: dict[str, Any], comparison: Comparison | None, other: str) -> Iterator[str]:
    named = f"{content['preset']}, scales {content['scales']}," if content["scales"] else content["preset"]
    yield (
        f"{named} on {counted(content['images'], 'image')} of {len(content['classes'])} classes, "
        f"in {counted(content['groups'], 'group')}"
    )
    yield f"{content['folds']} outer folds, {content['inner_folds']} inner, {counted(content['seeds'], 'seed')}"
    yield ""
    yield f"{'':24}{'mean':>8}{'95% over images':>20}{'std over seeds':>17}"
    for name, told in _NAMES.items():
        yield _line(told, content[name]["mean"], content[name], content["seeds"])
    yield ""
    yield f"{'class':24}{'F1':>8}{'95% over images':>20}{'precision':>12}{'recall':>9}{'images':>9}"
    for label, row in content["per_class"].items():
        yield (
            f"{label[:23]:24}{_number(row['f1']):>8}{_range(row['f1_ci_low'], row['f1_ci_high']):>20}"
            f"{_number(row['precision']):>12}{_number(row['recall']):>9}{row['images']:>9}"
        )
    yield ""
    if content["selection_macro_f1"] is not None:
        yield (
            f"{content['selection_macro_f1']:.3f} is what the same ensembles say of themselves (macro-F1 on the images "
            "that drove their choices): no score for new images, whichever of the two is higher."
        )
    if comparison is not None:
        yield f"Less {other}, on the same images:"
        for name, told in _NAMES.items():
            yield _line(told, comparison[name]["difference"], comparison[name], content["seeds"], signed=True)
        yield _judged(comparison["macro_f1"])
    yield f"{content['seconds']:.1f} s"


def _line(told: str, value: float, figure: dict[str, float], seeds: int, *, signed: bool = False) -> str:
    spread = f"{figure['std']:.3f}" if seeds > 1 else "one seed"
    middle = f"{value:+.3f}" if signed else f"{value:.3f}"
    return f"{told:24}{middle:>8}{_range(figure['ci_low'], figure['ci_high'], signed=signed):>20}{spread:>17}"


def _judged(figure: dict[str, float]) -> str:
    if figure["ci_low"] <= 0 <= figure["ci_high"]:
        return "The interval of the macro-F1's difference covers 0: these images don't tell the two apart."
    better = "higher" if figure["difference"] > 0 else "lower"
    return f"The macro-F1 is {better} by more than other images of the kind would explain."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _range(low: float | None, high: float | None, *, signed: bool = False) -> str:
    if low is None or high is None:
        return "-"
    return f"{low:+.3f} to {high:+.3f}" if signed else f"{low:.3f} to {high:.3f}"
