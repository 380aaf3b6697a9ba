"""What ``featstore check`` tells for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featstore_cli.output import counted

if TYPE_CHECKING:
    from featstore.check import Findings, Twins

__all__ = ["lines"]

_SHOWN, _NAMES_SHOWN = 10, 4


def lines(findings: Findings, sheets: Sequence[Path], seconds: float) -> Iterator[str]:
    """Give what is printed of a check."""
    kinds = Counter(found.kind for found in findings.images if found.kind)
    yield f"{counted(len(findings.images), 'image')} in {seconds:.1f} s: " + ", ".join(
        f"{count} {kind}" for kind, count in kinds.most_common()
    )
    yield from _file_lines(findings)
    yield from _label_lines(findings)
    yield from _table("left out by an extraction", Counter(row["reason"] for row in findings.rejected))
    for row in findings.rejected[:_SHOWN]:
        yield f"    {row['image']}: {row['reason']} ({row['note']})"
    yield from _more(findings.rejected)
    yield from _table("blobs found on", findings.sources)
    yield from _table("suspect", Counter(row["kind"] for row in findings.suspects))
    for row in findings.suspects[:_SHOWN]:
        yield f"    {row['image']}: {row['kind']} ({row['why']})"
    yield from _more(findings.suspects)
    yield from _twin_lines(findings)
    yield from (f"{path}: written" for path in sheets)


def _file_lines(findings: Findings) -> Iterator[str]:
    sizes = [(found.width_px, found.height_px) for found in findings.images if found.width_px]
    if sizes:
        widths, heights = zip(*sizes, strict=True)
        yield f"sizes: {_span(widths, 'px wide')}, {_span(heights, 'px high')}"
    if findings.modes:
        yield "modes: " + ", ".join(
            f"{count} {mode} of {counted(bits, 'bit')}" for (mode, bits), count in findings.modes.most_common()
        )
    known = findings.resolutions
    lacking = len(findings.images) - len(known) if known else 0
    said = _span(known, "µm a pixel") if known else "not known (a CSV may have it in its column mpp)"
    yield f"resolution: {said}" + (f", not known of {counted(lacking, 'image')}" if lacking else "")


def _span(values: Sequence[float], unit: str) -> str:
    low, high = (f"{value:g}" for value in (min(values), max(values)))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _label_lines(findings: Findings) -> Iterator[str]:
    for label, row in findings.labels.items():
        yield f"  {label or 'no label'}: {row['train']} train, {row['test']} test"
    if findings.imbalance is not None:
        yield f"the largest class has {findings.imbalance:.1f} times the images of the smallest"


def _table(title: str, counts: Counter[str]) -> Iterator[str]:
    said = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
    yield f"{title}: {said or 'nothing'}"


def _more(rows: Sequence[Any]) -> Iterator[str]:
    if len(rows) > _SHOWN:
        yield f"    and {len(rows) - _SHOWN} more (--json lists all)"


def _twin_lines(findings: Findings) -> Iterator[str]:
    twins = [twins for twins in findings.twins if twins.by != "group"]
    by = Counter(twins.by for twins in twins)
    yield "twins: " + (", ".join(f"{counted(count, 'group')} by {kind}" for kind, count in by.items()) or "none")
    yield from _groups([twins for twins in twins if twins.conflicting or twins.overlapping])
    straddling = [twins for twins in findings.twins if twins.by == "group"]
    if straddling:
        yield f"groups both trained on and tested: {len(straddling)}"
        yield from _groups(straddling)


def _groups(groups: Sequence[Twins]) -> Iterator[str]:
    for twins in groups[:_SHOWN]:
        names = ", ".join(twins.images[:_NAMES_SHOWN])
        if (more := len(twins.images) - _NAMES_SHOWN) > 0:
            names += f" and {more} more"
        what = [f"labelled {' and '.join(twins.labels)}"] if twins.conflicting else []
        what += ["both trained on and tested"] if twins.overlapping else []
        yield f"    {twins.group}: {names}" if twins.group else f"    {names}: the same {twins.by}, {', '.join(what)}"
    yield from _more(groups)
