"""Contact sheets of what a check found: a sheet a kind, with the pixels that made it suspect outlined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featstore.check import Examined, Findings
from featstore.check.image import Opened, open_image
from featstore.errors import ImageError
from featstore.recipe import CropSettings
from featstore.report.sheets import BLUE, ORANGE, Tile, draw_sheet, outlined, thumbnail
from featstore.store.disk.files import make_folder

__all__ = ["draw_findings", "sheet_names"]

SIDE_PX, COLUMNS, ROWS = 240, 6, 8


def sheet_names(findings: Findings) -> list[str]:
    """Name the sheets that `draw_findings` draws, in order."""
    return [name for name, _, _ in _sheets(findings)]


def draw_findings(findings: Findings, folder: Path) -> list[Path]:
    """Draw a sheet for each suspect kind, and one for each kind of twins; return their paths.

    Parameters
    ----------
    findings : Findings
    folder : Path
        Made if it is not there; sheets of these names are replaced.

    Raises
    ------
    StoreWriteError
        If a sheet can't be written.
    """
    drawn: list[Path] = []
    for name, title, rows in _sheets(findings):
        tiles = [
            [tile for found, kind, why in row if (tile := _tile(found, kind, why, findings.settings)) is not None]
            for row in rows
        ]
        if any(tiles):
            make_folder(folder)
            draw_sheet([row for row in tiles if row], folder / name, title)
            drawn.append(folder / name)
    return drawn


Row = list[tuple[Examined, str, str]]


def _sheets(findings: Findings) -> Iterator[tuple[str, str, list[Row]]]:
    """Yield name, title, and what to draw: images by suspect kind in pages, twins a group a row."""
    by_name = {found.record.image: found for found in findings.images}
    kinds: dict[str, Row] = defaultdict(list)
    for row in findings.suspects:
        kinds[row["kind"]].append((by_name[row["image"]], row["kind"], row["why"]))
    for kind, found in sorted(kinds.items()):
        lines = [found[start : start + COLUMNS] for start in range(0, len(found), COLUMNS)]
        yield from _pages(kind, f"{kind.replace('_', ' ')}: {len(found)} of {len(findings.images)} images", lines)
    for by in ("file", "look", "mask"):
        groups = [twins for twins in findings.twins if twins.by == by]
        lines = [[(by_name[image], "", _said(by_name[image])) for image in twins.images] for twins in groups]
        if lines:
            yield from _pages(f"twins_by_{by}", f"twins by {by}: {len(lines)} groups, a row each", lines)


def _pages(name: str, title: str, lines: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    pages = [list(lines[start : start + ROWS]) for start in range(0, len(lines), ROWS)]
    for number, page in enumerate(pages, 1):
        of = f" ({number} of {len(pages)})" if len(pages) > 1 else ""
        yield f"{name}{f'-{number}' if len(pages) > 1 else ''}.png", f"{title}{of}", page


def _said(found: Examined) -> str:
    return ", ".join(text for text in (found.record.split, found.record.label) if text)


def _tile(found: Examined, kind: str, why: str, settings: CropSettings) -> Tile | None:
    try:
        opened = open_image(found.record, settings)
    except ImageError:
        return None  # it has gone since
    small = thumbnail(opened.image, SIDE_PX)
    if opened.mask is not None and opened.mask.any() and (kind.startswith("mask") or not kind):
        small = outlined(small, np.asarray(opened.mask > 0), BLUE)
    pixels = _pixels(opened, kind)
    if pixels is not None:
        small = outlined(small, pixels, ORANGE)
    return Tile(small, (found.record.image, why))


def _pixels(opened: Opened, kind: str) -> NDArray[np.bool_] | None:
    return next((found.pixels for found in opened.artefacts if found.kind == kind), None)
