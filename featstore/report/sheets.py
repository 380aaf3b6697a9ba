"""Contact sheets: many small pictures on one PNG, with a few words below each."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.drawn import SOFTWARE
from featstore.errors import DataError
from featstore.extras import require_extra
from featstore.report.words import shown
from featstore.store.disk.files import write_atomically

__all__ = ["BLUE", "ORANGE", "Tile", "draw_sheet", "outlined", "thumbnail"]

Pixels = NDArray[np.uint8]
Letters = tuple[int, int]

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)
"""Of Okabe and Ito, told apart by people who see colours differently."""

_GAP_PX, _LEAST_PX = 12, 480
_LINE, _TITLE = (12, 17), (16, 22)
"""Size of letters, and height of a line, in pixels."""
_SEEN = 0.05
"""A pixel of a small picture lies within a mask if so much of it does: specks stay to be seen."""
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


@dataclass(frozen=True, eq=False)
class Tile:
    """A small picture and what is said of it.

    Attributes
    ----------
    pixels : ndarray of shape (height, width, 3), uint8, RGB
    lines : tuple of str
        Words below it, a line each.
    """

    pixels: Pixels
    lines: tuple[str, ...] = ()


def draw_sheet(rows: Sequence[Sequence[Tile]], path: Path, title: str = "") -> None:
    """Write tiles as PNG, row by row; the same tiles make the same bytes.

    Parameters
    ----------
    rows : sequence of sequence of Tile
        One tile or more; rows may be of different lengths.
    path : Path
    title : str
        Over all of it; broken into lines where it is wider.

    Raises
    ------
    DataError
        If there is no tile.
    MissingExtraError
        If Pillow is not installed.
    """
    if not any(rows):
        raise DataError("a sheet without a tile", expected="one or more")
    image_module = require_extra("PIL.Image", "report", "pictures need")
    drawing, information = (
        require_extra(f"PIL.{name}", "report", "pictures need") for name in ("ImageDraw", "PngImagePlugin")
    )
    wide = max(_LEAST_PX, *(sum(tile.pixels.shape[1] + _GAP_PX for tile in row) + _GAP_PX for row in rows))
    heading = _wrapped([title] if title else [], wide - 2 * _GAP_PX, _TITLE)
    tops, y = [], _GAP_PX + (len(heading) * _TITLE[1] + _GAP_PX if heading else 0)
    for row in rows:
        tops.append(y)
        y += max((_height(tile) for tile in row), default=0) + _GAP_PX
    sheet = image_module.new("RGB", (wide, y), _PAPER)
    pen = drawing.Draw(sheet)
    _write(pen, heading, (_GAP_PX, _GAP_PX), _TITLE)
    for top, row in zip(tops, rows, strict=True):
        _draw_row(sheet, pen, image_module, row, top)
    said = information.PngInfo()
    said.add_text("Software", SOFTWARE)
    content = io.BytesIO()
    sheet.save(content, format="PNG", pnginfo=said)
    write_atomically(path, content.getvalue())


def _draw_row(sheet: Any, pen: Any, image_module: Any, row: Sequence[Tile], top: int) -> None:
    left = _GAP_PX
    for tile in row:
        height, width = tile.pixels.shape[:2]
        sheet.paste(image_module.fromarray(tile.pixels), (left, top))
        _write(pen, _wrapped(tile.lines, width, _LINE), (left, top + height + 3), _LINE)
        left += width + _GAP_PX


def _write(pen: Any, lines: Sequence[str], place: tuple[int, int], letters: Letters) -> None:
    size, line_px = letters
    for number, line in enumerate(lines):
        pen.text((place[0], place[1] + number * line_px), line, fill=_INK, font=_font(size))


def _height(tile: Tile) -> int:
    height, width = tile.pixels.shape[:2]
    return int(height) + len(_wrapped(tile.lines, width, _LINE)) * _LINE[1] + 3


def _wrapped(lines: Sequence[str], width_px: int, letters: Letters) -> list[str]:
    """Break lines between words where they are wider; what is no letter is escaped, since names may hold anything."""
    font, found = _font(letters[0]), list[str]()
    for line in lines:
        found.append("")
        for word in shown(line).split(" "):
            longer = f"{found[-1]} {word}".strip()
            if found[-1] and font.getlength(longer) > width_px:
                found.append(_shortened(word, width_px, font))
            else:
                found[-1] = _shortened(longer, width_px, font)
    return found


def _shortened(text: str, width_px: int, font: Any) -> str:
    """Cut a text in its middle where it is wider than its tile: names differ at their ends."""
    for kept in range(len(text), 1, -1):
        short = text if kept == len(text) else f"{text[: kept // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(short) <= width_px:
            return short
    return text[:1]


@cache
def _font(size: int) -> Any:
    matplotlib = require_extra("matplotlib", "report", "pictures need")
    fonts = require_extra("PIL.ImageFont", "report", "pictures need")
    return fonts.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def thumbnail(image: Pixels, side_px: int) -> Pixels:
    """Shrink an image to at most ``side_px`` each way; a smaller one is enlarged."""
    scale = side_px / max(image.shape[:2])
    size = max(1, math.floor(image.shape[1] * scale + 0.5)), max(1, math.floor(image.shape[0] * scale + 0.5))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)


def outlined(small: Pixels, mask: NDArray[np.bool_], colour: tuple[int, int, int] = BLUE) -> Pixels:
    """Draw the outlines of a mask, of whatever size, on a picture, in a colour with a white rim."""
    size = small.shape[1], small.shape[0]
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > _SEEN
    curves, _ = cv2.findContours(inside.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    drawn = small.copy()
    cv2.drawContours(drawn, curves, -1, (255, 255, 255), 3, cv2.LINE_AA)
    cv2.drawContours(drawn, curves, -1, colour, 1, cv2.LINE_AA)
    return drawn
