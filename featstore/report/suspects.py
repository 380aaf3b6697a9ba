"""Contact sheets of what a check found: a sheet a kind, with the pixels that made it suspect outlined."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from featstore.check import Examined, Findings
from featstore.check.image import TAKEN_WHOLE, WRONG_MASKS, look_at
from featstore.dataset import read_image, read_mask
from featstore.dataset.artefact_check import KINDS
from featstore.drawn import is_drawn
from featstore.recipe import CropSettings
from featstore.report.sheets import BLUE, ORANGE, Tile, draw_sheet, outlined, thumbnail
from featstore.store.disk.files import make_folder

__all__ = ["draw_findings", "sheet_names"]

SIDE_PX, COLUMNS, ROWS = 240, 6, 8

_TWINS = ("file", "look", "mask")
_MASKS = (f"mask_{reason}" for reason in (*WRONG_MASKS, "unrelated"))
_KINDS = (*KINDS, *_MASKS, *TAKEN_WHOLE, *(f"twins_by_{by}" for by in _TWINS))
_NAME = re.compile(rf"({'|'.join(_KINDS)})(-[0-9]+)?\.png")


def sheet_names(findings: Findings) -> list[str]:
    """Name the sheets that `draw_findings` draws, in order."""
    return [name for name, _, _ in _sheets(findings)]


def draw_findings(findings: Findings, folder: Path) -> list[Path]:
    """Draw a sheet for each suspect kind, and one for each kind of twins; return their paths.

    Sheets of an earlier check go first: what they show may be mended. Other files stay.

    Parameters
    ----------
    findings : Findings
    folder : Path
        Made if it is not there.

    Raises
    ------
    StoreWriteError
        If a sheet can't be written.
    """
    for earlier in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _NAME.fullmatch(earlier.name) and earlier.is_file() and is_drawn(earlier):
            earlier.unlink()
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
    """Yield name, title, and what to draw: images by suspect kind in pages, each group of twins on rows of its own."""
    by_name = {found.record.image: found for found in findings.images}
    kinds: dict[str, Row] = defaultdict(list)
    for row in findings.suspects:
        kinds[row["kind"]].append((by_name[row["image"]], row["kind"], row["why"]))
    for kind, found in sorted(kinds.items()):
        title = f"{kind.replace('_', ' ')}: {len(found)} of {len(findings.images)} images"
        yield from _pages(kind, title, _broken(found))
    for by in _TWINS:
        groups = [twins for twins in findings.twins if twins.by == by]
        lines: list[Row] = []
        for number, twins in enumerate(groups, 1):
            members = [by_name[image] for image in twins.images]
            lines += _broken([(each, "", f"group {number}: {_said(each)}") for each in members])
        if lines:
            yield from _pages(f"twins_by_{by}", f"twins by {by}: {len(groups)} groups, each on rows of its own", lines)


def _broken(row: Row) -> list[Row]:
    return [row[start : start + COLUMNS] for start in range(0, len(row), COLUMNS)]


def _pages(name: str, title: str, lines: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    pages = [list(lines[start : start + ROWS]) for start in range(0, len(lines), ROWS)]
    for number, page in enumerate(pages, 1):
        of = f" ({number} of {len(pages)})" if len(pages) > 1 else ""
        yield f"{name}{f'-{number}' if len(pages) > 1 else ''}.png", f"{title}{of}", page


def _said(found: Examined) -> str:
    return ", ".join(text for text in (found.record.split, found.record.label) if text)


def _tile(found: Examined, kind: str, why: str, settings: CropSettings) -> Tile | None:
    record = found.record
    try:
        image = read_image(record.path)
        mask = read_mask(record.mask_path, shape=image.shape[:2]) if record.mask_path else None
        artefacts = look_at(image, mask, settings).artefacts if kind in KINDS else ()
    except Exception:  # noqa: BLE001 - it has gone since, or failed in the check as well
        return None
    small = thumbnail(image, SIDE_PX)
    if mask is not None and mask.any() and (kind.startswith("mask") or not kind):
        small = outlined(small, np.asarray(mask > 0), BLUE)
    for each in artefacts:
        if each.kind == kind and each.pixels is not None:
            small = outlined(small, each.pixels, ORANGE)
    return Tile(small, (record.image, why))
