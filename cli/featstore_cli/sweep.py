"""``featstore sweep``: what more repeats, more blobs, another scale, preset or encoder would have brought."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.folds import DaskOption, JobsOption, OuterFoldsOption, fitted_at_a_time, fitting_on, shown_on
from featstore_cli.options import StoresArgument, check_folder, given_stores, nothing_written
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines
from featstore_cli.progress import progress_bar
from featstore_cli.scales import check_scales, read_scales
from featstore_cli.training import (
    GroupOption,
    LabelsOption,
    Preset,
    SeedOption,
    aligned_bags,
    model_of,
    training_bags,
    warn_of_few_groups,
)

if TYPE_CHECKING:
    from featstore.evaluate import Row
    from featstore.store import Bags, JoinedBags

__all__ = ["EXAMPLES", "sweep"]

EXAMPLES = """\b
Examples:
  featstore sweep
  featstore sweep --repeats 0,1,2,4,8 --seeds 5 --out repeats
  featstore sweep --max-blobs 1,3,10 --repeats 4
  featstore sweep scales.store --scales 1,2,1+2,1:2 --repeats 4
  featstore sweep phikon.store uni.store --repeats 4 --presets m4,m5"""

_SETTINGS = ("store", "preset", "max_blobs", "repeats", "scales")
_FILES = ("sweep.csv", "sweep.png")


@plain_errors(nothing_written)
def sweep(
    stores: StoresArgument = None,
    repeats: Annotated[
        str | None, typer.Option(metavar="0,1,3", help="Numbers of repeats.", show_default="0,1,3,4, as far as stored")
    ] = None,
    max_blobs: Annotated[
        str | None, typer.Option(metavar="1,3,10", help="Largest blobs of each image.", show_default="all")
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option(
            metavar="1,2,1+2,1:2", help="Scales: 2, that one; 1+2, pooled; 1:2, side by side.", show_default="all"
        ),
    ] = None,
    presets: Annotated[str, typer.Option(metavar="m4,m5", help="Presets, whose single heads are fitted.")] = "m5",
    folds: OuterFoldsOption = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions with other folds and other seeds.")] = 3,
    seed: SeedOption = 0,
    labels: LabelsOption = None,
    group: GroupOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write sweep.csv and sweep.png here, as well.")
    ] = None,
    jobs: JobsOption = None,
    dask: DaskOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare settings on the same folds with the same seeds; nothing is extracted anew.

    Every combination is evaluated, nested: an outer fold's images drive no choice. To be quick, a preset's heads are
    fitted once in each outer fold and not as an ensemble, so differences between rows count more than their level;
    featstore evaluate tells that of the ensemble.
    """
    from featstore.evaluate import Candidate, sweep
    from featstore.store import open_store

    started = time.perf_counter()
    at_a_time = fitted_at_a_time(jobs, dask)
    wanted = [_preset(name) for name in _words(presets, "--presets")]
    blobs: list[int | None] = [None] if max_blobs is None else [*_numbers(max_blobs, "--max-blobs", least=1)]
    of_scales = [None] if scales is None else _words(scales, "--scales")
    settings_of = {each: read_scales(each) for each in of_scales}
    asked = None if repeats is None else _numbers(repeats, "--repeats", least=0)
    paths = given_stores(stores)
    if out is not None:
        from featstore.report import require_matplotlib

        require_matplotlib()
        check_folder("--out", out, _FILES, [*paths, labels])
    opened = [open_store(path) for path in paths]
    settings: list[tuple[Row, Bags | JoinedBags]] = []
    for path, store in zip(paths, opened, strict=True):
        for most, number in product(blobs, _stored(store.repeats) if asked is None else asked):
            bags = training_bags([store], number, labels, group, max_blobs=most)
            check_scales(bags, [store], settings_of.values())
            origin = {"store": str(path), "fingerprint": store.fingerprint, "version": store.version}
            settings.append(({**origin, "max_blobs": most, "repeats": number}, bags))
    aligned = aligned_bags([bags for _, bags in settings], opened)
    warn_of_few_groups(aligned[0])
    candidates = [
        (
            {"preset": preset.value, **setting, "scales": each},
            Candidate("", model_of(preset, **settings_of[each]).estimator, bags),
        )
        for (setting, _), bags in zip(settings, aligned, strict=True)
        for preset, each in product(wanted, of_scales)
    ]
    with fitting_on(dask, [candidate.X for _, candidate in candidates]), progress_bar("sweep") as move:
        rows = sweep(
            candidates,
            n_splits=folds,
            n_seeds=seeds,
            random_state=seed,
            n_jobs=at_a_time,
            callback=shown_on(move),
        )
    written: Path | None = None
    try:
        if out is not None:
            _write(rows, out)
        written = out
    finally:  # a full disk costs the files, not the figures
        seconds = round(time.perf_counter() - started, 3)
        if as_json:
            place = str(written) if written else None
            print_json({"rows": rows, "folds": folds, "seeds": seeds, "out": place, "seconds": seconds})
        else:
            print_lines(_lines(rows, folds, seeds, written, seconds))


def _write(rows: list[Row], out: Path) -> None:
    from featstore.evaluate import write_rows
    from featstore.report import draw_sweep
    from featstore.store.disk.files import make_folder

    make_folder(out)
    table, picture = _FILES
    write_rows(out / table, rows)
    draw_sweep(rows, out / picture)


def _stored(repeats: Sequence[int]) -> list[int]:
    return [number for number in (0, 1, 3, 4) if number <= max(repeats, default=0)]


def _words(text: str, option: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words) or len(set(words)) < len(words):
        raise typer.BadParameter(f"{text!r} is no list of different settings, such as 0,1,3", param_hint=option)
    return words


def _numbers(text: str, option: str, *, least: int) -> list[int]:
    words = _words(text, option)
    if not all(re.fullmatch(r"[0-9]{1,6}", word) and int(word) >= least for word in words):
        raise typer.BadParameter(f"{text!r} is no list of whole numbers from {least}", param_hint=option)
    return [int(word) for word in words]


def _preset(name: str) -> Preset:
    if name not in list(Preset):
        raise typer.BadParameter(f"{name!r} is none of {', '.join(Preset)}", param_hint="--presets")
    return Preset(name)


def _lines(rows: Sequence[Row], folds: int, seeds: int, out: Path | None, seconds: float) -> Iterator[str]:
    many = [name for name in _SETTINGS if len({row[name] for row in rows}) > 1]
    shown = many or ["repeats"]
    widths = {name: max(len(name), *(len(_shown(row[name])) for row in rows)) for name in shown}
    yield f"{folds} outer folds, {counted(seeds, 'seed')}"
    heads = "  ".join(f"{name.replace('_', ' '):>{widths[name]}}" for name in shown)
    yield f"{heads}  macro-F1  std over seeds    95% over images  less the first row (95%)"
    for row in rows:
        where = "  ".join(f"{_shown(row[name]):>{widths[name]}}" for name in shown)
        spread = "one seed" if row["macro_f1_std"] is None else f"{row['macro_f1_std']:.3f}"
        interval = f"{row['macro_f1_ci_low']:.3f} to {row['macro_f1_ci_high']:.3f}"
        paired = f"{row['difference']:+.3f} ({row['difference_ci_low']:+.3f} to {row['difference_ci_high']:+.3f})"
        against = "" if row is rows[0] else paired
        yield f"{where}  {row['macro_f1_mean']:>8.3f}  {spread:>14}  {interval:>17}  {against:>24}".rstrip()
    yield "Single heads, not the ensemble: compare rows, and take the level from featstore evaluate."
    if out is not None:
        yield f"{out}: sweep.csv and sweep.png"
    yield f"{seconds:.1f} s"


def _shown(value: Any) -> str:
    return "all" if value is None else str(value)
