"""What other commands found, read from their files: evaluate's JSON, sweep's table, reproduce's comparison."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featstore.errors import DataError

__all__ = ["REPRODUCED", "SWEPT", "read_evaluation", "read_reproduction", "read_sweep"]

Row = dict[str, Any]

SWEPT, REPRODUCED = "sweep.csv", "reproduction.json"
"""What is read where a folder is named."""

MAX_BYTES = 64 << 20

_FIGURES = ("macro_f1", "accuracy", "ece", "brier", "log_loss")
_SWEPT = ("macro_f1_mean", "macro_f1_std", "macro_f1_ci_low", "macro_f1_ci_high")
_HOW_EVALUATE = "featstore evaluate --json > evaluation.json"


def read_evaluation(path: Path) -> Row:
    """Read what ``featstore evaluate --json`` printed.

    Raises
    ------
    DataError
        If it is something else.
    """
    content = _read_json(path)
    ok = all(_is_figure(content.get(name)) for name in _FIGURES)
    ok = ok and isinstance(content.get("per_class"), dict) and all(map(_is_row, content["per_class"].values()))
    ok = ok and all(isinstance(content.get(name), int) for name in ("images", "groups", "folds", "seeds"))
    if not ok:
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
    rows: Any = None
    if table.suffix.lower() == ".json":
        rows = _read_json(table).get("rows")
    else:
        rows = [{name: _value(cell) for name, cell in row.items()} for row in _read_csv(table)]
    wanted = ("repeats", "max_blobs", "preset", "store", "images", *_SWEPT)
    ok = isinstance(rows, list) and len(rows) > 0
    ok = ok and all(isinstance(row, dict) and row.keys() >= set(wanted) for row in rows)
    if not ok or not all(_is_number(row["macro_f1_mean"]) and _is_numbers(row, _SWEPT) for row in rows):
        raise DataError(
            f"{table}: no sweep", expected="the table that featstore sweep --out writes, or its --json in a .json"
        )
    return [{**row, "store": str(row["store"]), "preset": str(row["preset"])} for row in rows]


def read_reproduction(path: Path) -> Row:
    """Read ``reproduction.json``, which ``featstore reproduce`` writes.

    Raises
    ------
    DataError
        If it is something else.
    """
    path = path / REPRODUCED if path.is_dir() else path
    content = _read_json(path)
    systems: Any = content.get("systems")
    repeats: Any = content.get("repeats")
    lists = isinstance(systems, list) and isinstance(repeats, list)
    if not lists or not all(_is_system(row) for row in [*systems, *repeats]):
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


def _value(cell: str) -> Any:
    """Turn a cell into a number where it is one, into None where it is empty."""
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell or None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_numbers(row: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return all(name in row and (row[name] is None or _is_number(row[name])) for name in names)


def _is_figure(value: Any) -> bool:
    return (
        isinstance(value, dict) and _is_number(value.get("mean")) and _is_numbers(value, ("std", "ci_low", "ci_high"))
    )


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and _is_numbers(
        value, ("images", "f1", "precision", "recall", "f1_ci_low", "f1_ci_high")
    )


def _is_system(row: Any) -> bool:
    if not isinstance(row, dict) or not _is_figure(row.get("macro_f1")) or not isinstance(row.get("published"), dict):
        return False
    numbers = ("val_accuracy", "val_macro_f1", "test_macro_f1")
    return _is_numbers(row, ("repeats", *numbers)) and _is_numbers(row["published"], numbers)
