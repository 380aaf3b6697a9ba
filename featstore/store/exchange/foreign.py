"""Files that others made: whatever is wrong with one ends as one plain error that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, FeatstoreError
from featstore.extras import require_extra

__all__ = ["BUDGET", "as_counts", "as_text", "numbers_in", "reading", "require", "rows_at_a_time", "stored_type"]

BUDGET = 32 * 2**20
"""Bytes of embeddings that are read or written at a time."""

LARGEST_COUNT = 2**31 - 1

Text = NDArray[np.object_]


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises about a file into a `DataError` that names the file."""
    try:
        yield
    except FeatstoreError:
        raise
    except Exception as error:  # of a damaged file these libraries raise anything at all
        number = error.errno if isinstance(error, OSError) else None
        words = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        if number and isinstance(error, OSError):
            raise DataError(f"{path}: can't be read ({error.strerror or words})") from error
        raise DataError(
            f"{path}: not readable as {kind} ({words})", remedy="Restore the file from a copy, or name its --format."
        ) from error


def require(module: str, kind: str) -> ModuleType:
    """Import a module that only files of one kind need, or say which extra brings it."""
    return require_extra(module, "exchange", f"{kind} files need")


def rows_at_a_time(row_bytes: int, path: Path) -> int:
    """Tell how many rows fit into what is read at a time.

    Raises
    ------
    DataError
        If not even one does: no embedding is that long.
    """
    if row_bytes > BUDGET:
        raise DataError(f"{path}: {row_bytes} bytes a row", expected=f"at most {BUDGET}")
    return max(1, BUDGET // max(1, row_bytes))


def numbers_in(kind: np.dtype[Any], shape: tuple[int, ...], what: str, path: Path) -> None:
    """Refuse what can't be embeddings: other than two dimensions, no rows or columns, or other than numbers.

    Raises
    ------
    DataError
    """
    if kind.kind not in "fiu" or kind.itemsize > 8:
        raise DataError(f"{path}: {what} holds {kind}", expected="floating-point numbers")
    if len(shape) != 2:
        raise DataError(f"{path}: {what} has the shape {shape}", expected="one row an embedding, (n, dim)")
    if 0 in shape:
        raise DataError(f"{path}: {what} has the shape {shape}, so no embeddings", remedy="Leave the file out.")


def stored_type(kind: np.dtype[Any]) -> str:
    """Tell how embeddings of a type are stored: half precision stays, all else becomes single precision."""
    return "float16" if kind == np.float16 else "float32"


def as_text(values: NDArray[Any], field: str, path: Path) -> Text:
    """Read a column of words: text, or whole numbers and booleans as they are written; what is missing is empty.

    Raises
    ------
    DataError
        If it holds anything else.
    """
    if values.dtype.kind == "U":
        return values.astype(object)
    if values.dtype.kind in "Siub" or values.dtype == object:
        words = [_word(value) for value in values.tolist()]
        if None not in words:
            return np.array([*words, ""], dtype=object)[:-1]
    raise DataError(f"{path}: {field} holds {values.dtype}", expected="text or whole numbers")


def as_counts(values: NDArray[Any], field: str, path: Path) -> NDArray[np.int32]:
    """Read a column of whole numbers; of blobs and repeats, none is below 0.

    Raises
    ------
    DataError
        If one is not whole, too small or too large.
    """
    lowest = 0 if field in {"blob", "repeat"} else -(2**31)
    expected = f"whole numbers from {lowest} to {LARGEST_COUNT}"
    if values.dtype.kind not in "iu":
        raise DataError(f"{path}: {field} holds {values.dtype}", expected=expected)
    wrong = np.argwhere((values < lowest) | (values > LARGEST_COUNT))
    if len(wrong):
        raise DataError(f"{path}: {field} is {values[tuple(wrong[0])]} in row {wrong[0][0]}", expected=expected)
    return values.astype(np.int32)


def _word(value: Any) -> str | None:
    """Write a value as a word; None where it is neither text nor a whole number."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (int, np.integer, np.bool_)):
        return str(value)
    return "" if value is None or value != value or str(value) == "<NA>" else None
