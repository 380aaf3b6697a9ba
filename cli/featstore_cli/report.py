"""``featstore report``: a store, a model and their scores as one page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.options import StorePath, VersionOption, check_page
from featstore_cli.output import JsonFlag, counted, plain_errors, print_json, print_lines, sized, warn
from featstore_cli.predict import refuse_networks
from featstore_cli.progress import progress_bar

if TYPE_CHECKING:
    from featstore.report import Page, Subject

__all__ = ["EXAMPLES", "report"]

EXAMPLES = """\b
Examples:
  featstore report
  featstore report embeddings.store --model ensemble.model --data data --out report.html
  featstore evaluate --json > evaluation.json; featstore report --evaluation evaluation.json
  featstore report --sweep repeats --reproduction reproduction/reproduction.json
  featstore report phikon.store --model phikon.model --weights phikon-v2/"""


def _interrupted(out: Path, **_: Any) -> str:
    return f"A file that was at {out} is as it was. Run the same command again."


@plain_errors(_interrupted)
def report(
    store: StorePath = Path("embeddings.store"),
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    model: Annotated[
        Path | None,
        typer.Option(help="A file that fit wrote.", show_default="ensemble.model, if it was fitted on this store"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The images that the store was extracted from.", show_default="data, if it is these"),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="JSON", help="What featstore evaluate --json printed: the honest scores.")
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(metavar="DIR|FILE", help="What featstore sweep --out wrote: the curve of repeats.")
    ] = None,
    reproduction: Annotated[
        Path | None, typer.Option(metavar="JSON", help="What featstore reproduce wrote: the table of five systems.")
    ] = None,
    errors: Annotated[int, typer.Option(min=0, max=40, help="Confident errors to explain.")] = 12,
    weights: Annotated[Path | None, typer.Option(help="Folder with the encoder's weights, for heatmaps.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    store_version: VersionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write one page, for any browser and for paper: data, folds, scores, map, confident errors, nearest neighbours.

    The page is one file that asks nothing of any network. Without a model it has the parts of the data alone, without
    the images no pictures, and it says so. Out-of-fold figures stand there as what they are; the score to expect of
    new images comes from featstore evaluate.
    """
    from featstore.extras import require_extra
    from featstore.report import make_page
    from featstore.store.disk.files import write_atomically

    started = time.perf_counter()
    check_page("--out", out, _inputs(store, model, data, evaluation, sweep, reproduction, weights), as_json=as_json)
    for package in ("matplotlib", "bokeh", "jinja2", "cv2"):
        require_extra(package, "report", "the page needs")
    if model is not None:
        refuse_networks(model)
    subject = _subject(store, store_version, model, data, errors, weights, device)
    subject = _with_findings(subject, evaluation, sweep, reproduction)
    with progress_bar("report") as move:
        page = make_page(subject, lambda what, done, of: move(done, of, what))
    write_atomically(out, page.html)
    for text in page.notes:
        warn(text)
    content = _content(out, page, subject, round(time.perf_counter() - started, 3))
    if as_json:
        print_json(content)
    else:
        print_lines(_lines(content))


def _inputs(store: Path, model: Path | None, *given: Path | None) -> list[Path]:
    """List the store, and the files that are read: those that are named, or lie in folders that are, or by default."""
    from featstore.report import DEFAULT_MODEL, REPRODUCED, SWEPT

    named = [path for path in given if path is not None]
    inside = [path / name for path in named if path.is_dir() for name in (SWEPT, REPRODUCED)]
    return [store, model or DEFAULT_MODEL, *(path for path in named if not path.is_dir()), *inside]


def _subject(
    path: Path,
    version: int | None,
    model: Path | None,
    data: Path | None,
    errors: int,
    weights: Path | None,
    device: str,
) -> Subject:
    """Open what the report is about."""
    from featstore.report import DEFAULT_MODEL, Subject, find_encoder, find_model, find_originals
    from featstore.store import open_store

    store = open_store(path, version=version)
    originals, no_originals = find_originals(data, store)
    fitted, no_model = find_model(model, store)
    encoder, no_heatmaps = None, ""
    if fitted is not None and errors and originals.records:
        encoder, no_heatmaps = find_encoder(store, weights, device)
    notes = tuple(text for text in (no_model, no_originals) if text)
    name = (model or DEFAULT_MODEL).name
    return Subject(
        store,
        originals,
        fitted,
        name,
        encoder=encoder,
        why_no_heatmaps=no_heatmaps,
        n_errors=errors,
        notes=notes,
    )


def _with_findings(subject: Subject, evaluation: Path | None, sweep: Path | None, reproduction: Path | None) -> Subject:
    """Read what other commands found."""
    from dataclasses import replace

    from featstore.report import (
        check_evaluation,
        check_reproduction,
        check_sweep,
        read_evaluation,
        read_reproduction,
        read_sweep,
    )

    found: dict[str, Any] = {}
    if evaluation is not None:
        found["evaluation"] = read_evaluation(evaluation)
        check_evaluation(found["evaluation"], subject.store, evaluation)
    if sweep is not None:
        found["sweep"] = read_sweep(sweep)
        check_sweep(found["sweep"], subject.store, sweep)
    if reproduction is not None:
        found["reproduction"] = read_reproduction(reproduction)
        check_reproduction(found["reproduction"], subject.store, reproduction)
    return replace(subject, **found)


def _content(out: Path, page: Page, subject: Subject, seconds: float) -> dict[str, Any]:
    return {
        "report": str(out),
        "bytes": len(page.html),
        "images": page.images,
        "thumbnails": page.thumbnails,
        "sections": page.sections,
        "model": subject.model_name if subject.model is not None else None,
        "notes": page.notes,
        "why_no_heatmaps": subject.why_no_heatmaps,
        "seconds": seconds,
    }


def _lines(content: dict[str, Any]) -> Iterator[str]:
    pictures = counted(content["thumbnails"], "picture")
    yield f"{content['report']}: {sized(content['bytes'])}, {counted(content['images'], 'image')}, {pictures}"
    yield f"  {', '.join(content['sections'])}"
    if content["why_no_heatmaps"]:
        yield f"  {content['why_no_heatmaps']}"
    yield f"  {content['seconds']:.1f} s"
