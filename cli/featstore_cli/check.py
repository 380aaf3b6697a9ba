"""``featstore check``: what is wrong with a dataset, before anything is embedded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.cropping import Artefacts, ArtefactsOption, LimitsOption, Masks, MasksOption, measured_by
from featstore_cli.options import check_pictures, nothing_written
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines, warn
from featstore_cli.progress import progress_bar

if TYPE_CHECKING:
    from featstore.check import Findings

__all__ = ["EXAMPLES", "check"]

EXAMPLES = """\b
Examples:
  featstore check
  featstore check slides.csv --out suspects     # contact sheets of what is suspect
  featstore check data --json > check.json
  featstore check --show-limits > limits.toml   # every threshold; change what you like, and
  featstore check --limits limits.toml          # give the file to check, preview and extract"""

_SHOWN = 10


@plain_errors(nothing_written)
def check(
    data: Annotated[
        Path, typer.Argument(help="Challenge folder, CSV of images, or plain folder of images.", show_default=True)
    ] = Path("data"),
    out: Annotated[Path | None, typer.Option(help="Folder for contact sheets, one for each suspect kind.")] = None,
    masks: MasksOption = Masks.checked,
    artefacts: ArtefactsOption = Artefacts.exclude,
    limits: LimitsOption = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one a core")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if an image can't be used.")] = False,
    show_limits: Annotated[
        bool, typer.Option("--show-limits", help="Only print all thresholds, as a file for --limits.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Open every image and mask, and tell what an extraction would leave out, and what to look at before.

    Artefacts (pen ink, pasted blobs, replaced textures, blur, foreign stains), poor masks, twins (the same file, nearly
    the same picture, the same mask) and their conflicting labels, and how classes are balanced.
    """
    from featstore.check import check_dataset
    from featstore.dataset import Limits, find_dataset
    from featstore.recipe import CropSettings

    settings = CropSettings(**measured_by(masks, artefacts, limits))
    if show_limits:
        print_lines(Limits.of(settings.limits).to_toml().splitlines())
        return
    started = time.perf_counter()
    dataset = find_dataset(data)
    if out is not None:
        check_pictures("--out", out, [], [record.path.parent for record in dataset.records])
    with progress_bar("check") as move:
        findings = check_dataset(dataset, settings, jobs=jobs, progress=lambda done, of: move(done, of, "images"))
    sheets = [] if out is None else _draw(findings, out)
    seconds = round(time.perf_counter() - started, 3)
    for text in dataset.warnings:
        warn(text)
    if as_json:
        print_json({**findings.to_dict(), "sheets": [str(path) for path in sheets], "seconds": seconds})
    else:
        print_lines(_lines(findings, sheets, seconds))
    if strict and findings.rejected:
        raise typer.Exit(1)


def _draw(findings: Findings, out: Path) -> list[Path]:
    from featstore.report.suspects import draw_findings, sheet_names

    check_pictures("--out", out, sheet_names(findings), [])
    return draw_findings(findings, out)


def _lines(findings: Findings, sheets: list[Path], seconds: float) -> Iterator[str]:
    sizes = Counter((found.width_px, found.height_px) for found in findings.images if found.width_px)
    kinds = Counter(found.kind for found in findings.images if found.kind)
    yield f"{counted(len(findings.images), 'image')} in {seconds:.1f} s: " + ", ".join(
        f"{count} {kind}" for kind, count in kinds.most_common()
    )
    if sizes:
        yield f"sizes: {_sizes(sizes)}"
    yield from _label_lines(findings)
    yield from _table("left out by an extraction", Counter(row["reason"] for row in findings.rejected))
    for row in findings.rejected[:_SHOWN]:
        yield f"    {row['image']}: {row['reason']} ({row['note']})"
    yield from _more(findings.rejected)
    yield from _table("suspect", Counter(row["kind"] for row in findings.suspects))
    for row in findings.suspects[:_SHOWN]:
        yield f"    {row['image']}: {row['kind']} ({row['why']})"
    yield from _more(findings.suspects)
    yield from _twin_lines(findings)
    yield from (f"{path}: written" for path in sheets)


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    widths, heights = zip(*sizes, strict=True)
    if len(sizes) == 1:
        return f"{widths[0]} x {heights[0]} px"
    return f"{min(widths)} to {max(widths)} px wide, {min(heights)} to {max(heights)} px high"


def _label_lines(findings: Findings) -> Iterator[str]:
    for label, row in findings.labels.items():
        yield f"  {label or 'no label'}: {row['train']} train, {row['test']} test"
    if findings.imbalance is not None:
        yield f"the largest class has {findings.imbalance:.1f} times the images of the smallest"


def _table(title: str, counts: Counter[str]) -> Iterator[str]:
    said = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
    yield f"{title}: {said or 'nothing'}"


def _more(rows: list[Any]) -> Iterator[str]:
    if len(rows) > _SHOWN:
        yield f"    and {len(rows) - _SHOWN} more (--json lists all)"


def _twin_lines(findings: Findings) -> Iterator[str]:
    by = Counter(twins.by for twins in findings.twins)
    yield "twins: " + (", ".join(f"{counted(count, 'group')} by {kind}" for kind, count in by.items()) or "none")
    telling = [twins for twins in findings.twins if twins.conflicting or twins.overlapping]
    for twins in telling[:_SHOWN]:
        what = [f"labelled {' and '.join(twins.labels)}"] if twins.conflicting else []
        what += ["both trained on and tested"] if twins.overlapping else []
        yield f"    {', '.join(twins.images)}: the same {twins.by}, {', '.join(what)}"
    yield from _more(telling)
