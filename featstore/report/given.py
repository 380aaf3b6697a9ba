"""What other commands found, read from their files: evaluate's JSON, sweep's table, reproduce's comparison."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from featstore.errors import DataError
from featstore.report.forms import (
    COMPARISON,
    ESTIMATE,
    OF_COMPARISON,
    OF_ESTIMATE,
    OF_SWEPT_ROW,
    ORIGIN,
    SWEPT_ROW,
    fits,
    is_list,
)

__all__ = ["REPRODUCED", "SWEPT", "read_evaluation", "read_reproduction", "read_sweep"]

Row = dict[str, Any]

SWEPT, REPRODUCED = "sweep.csv", "reproduction.json"
"""What is read where a folder is named."""

MAX_BYTES = 64 << 20

_TEXTS = ("store", "preset", "scales", "fingerprint", "data_digest")
_HOW_EVALUATE = "featstore evaluate --json > evaluation.json"


def read_evaluation(path: Path) -> Row:
    """Read what ``featstore evaluate --json`` printed.

    Raises
    ------
    DataError
        If it is something else.
    """
    content = _read_json(path)
    if not fits(content, ESTIMATE, ORIGIN | OF_ESTIMATE):
        raise DataError(
            f"{path}: no estimate", expected="the JSON of featstore evaluate", remedy=f"Make one: {_HOW_EVALUATE}"
        )
    return content


def read_sweep(path: Path) -> list[Row]:
    """Read the rows of ``featstore sweep``: the folder of its ``--out``, its CSV, or the JSON that it printed.

    Raises
    ------
    DataError
        If it is something else.
    """
    table = path / SWEPT if path.is_dir() else path
    if table.suffix.lower() == ".json":
        rows = _read_json(table).get("rows")
    else:
        rows = [{name: _value(name, cell) for name, cell in row.items()} for row in _read_csv(table)]
    if not rows or not is_list(rows, lambda row: fits(row, SWEPT_ROW, ORIGIN | OF_SWEPT_ROW)):
        raise DataError(
            f"{table}: no sweep", expected="the table that featstore sweep --out writes, or its --json in a .json"
        )
    found: list[Row] = rows
    return found


def read_reproduction(path: Path) -> Row:
    """Read ``reproduction.json``, which ``featstore reproduce`` writes.

    Raises
    ------
    DataError
        If it is something else.
    """
    path = path / REPRODUCED if path.is_dir() else path
    content = _read_json(path)
    if not fits(content, COMPARISON, ORIGIN | OF_COMPARISON):
        raise DataError(f"{path}: no comparison", expected="the reproduction.json that featstore reproduce writes")
    return content


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than {MAX_BYTES >> 20} MiB", expected="figures, which are few")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text", expected="UTF-8") from error


def _read_json(path: Path) -> Row:
    try:
        content = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}", expected="one JSON object")
    return content


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(io.StringIO(_read(path), newline="")))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV ({error})") from error
    if any(None in row or None in row.values() for row in rows):
        raise DataError(f"{path}: lines of different lengths", expected="a cell for each column")
    return rows


def _value(name: str, cell: str) -> Any:
    """Turn a cell into a number where it may be one, into None where it is empty."""
    for kind in () if name in _TEXTS else (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell or None
