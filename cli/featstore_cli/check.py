"""``featstore check``: what is wrong with a dataset, before anything is embedded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featstore_cli import checked
from featstore_cli.cropping import Artefacts, ArtefactsOption, LimitsOption, Masks, MasksOption, measured_by
from featstore_cli.options import check_pictures, nothing_written
from featstore_cli.output import JsonFlag, note, plain_errors, print_json, print_lines, unusable, warn
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
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 if an image can't be used, other than for contamination.")
    ] = False,
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
    from featstore_cli.workers import working_here

    settings = CropSettings(**measured_by(masks, artefacts, limits))
    if show_limits:
        print_lines(Limits.of(settings.limits).to_toml().splitlines())
        return
    started = time.perf_counter()
    dataset = find_dataset(data)
    if out is not None:
        check_pictures("--out", out, [], [], dataset)
    with working_here(), progress_bar("check") as move:
        findings = check_dataset(dataset, settings, jobs=jobs, progress=lambda done, of: move(done, of, "images"))
    sheets = [] if out is None else _draw(findings, out)
    seconds = round(time.perf_counter() - started, 3)
    for text in dataset.warnings:
        warn(text)
    if as_json:
        print_json({**findings.to_dict(), "sheets": [str(path) for path in sheets], "seconds": seconds})
    else:
        print_lines(checked.lines(findings, sheets, seconds))
        if out is not None and not sheets:
            print_lines([f"{out}: nothing to draw"])
    if strict and (bad := unusable(findings.rejected)):
        note(f"Error: {bad} can't be used (--strict).")
        raise typer.Exit(1)


def _draw(findings: Findings, out: Path) -> list[Path]:
    from featstore.report.suspects import draw_findings, sheet_names

    check_pictures("--out", out, sheet_names(findings), [])
    return draw_findings(findings, out)
