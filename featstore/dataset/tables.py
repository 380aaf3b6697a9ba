"""CSV files as people write them: commas, semicolons or tabs, a BOM or none, any line ends, quotes, stray spaces."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore.dataset.records import listing
from featstore.errors import DataError

__all__ = ["Row", "Table", "read_table"]

DELIMITERS = (",", ";", "\t")
_END = "\ufdd0end of table"  # a noncharacter: no text holds it
_BLANK = "".join(DELIMITERS) + ' "\r\n'
_SAVE_AGAIN = 'Save it again as "CSV UTF-8".'


@dataclass(frozen=True)
class Row:
    """One row: ``cells`` by column, trimmed; ``line`` is where it starts in the file, from 1."""

    line: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        """Return a cell; empty when the table has no such column."""
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Table:
    """A table of text: its columns in order, and its rows without the blank ones."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read_table(path: Path, *, known: Sequence[str], required: Sequence[Sequence[str]] = ()) -> Table:
    """Read a CSV file.

    Parameters
    ----------
    path : Path
        The file; UTF-8 with or without a BOM.
    known : sequence of str
        Columns that mean something here: they are recognised in any case, with a space for an underscore, and help
        to tell the delimiter. Other columns keep their own spelling.
    required : sequence of sequences of str
        The table must have one column of each of these groups.

    Returns
    -------
    Table

    Raises
    ------
    DataError
        If the file can't be read as a table, or lacks a column; the message names the line.
    """
    text, skipped = _without_separator_line(_read_text(path))
    if not text.strip(_BLANK):
        raise DataError(f"{path} is empty", expected="a CSV file with a line of column names")
    delimiter, columns = _header(text, known, path)
    _check_columns(columns, required, path)
    rows = tuple(_rows(text, delimiter, columns, skipped, path))
    return Table(path, tuple(column for column in columns if column), rows)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})", expected="a CSV file") from error
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(f"{path} is UTF-16 text", expected="UTF-8", remedy=_SAVE_AGAIN)
    bom = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    try:
        text = data[bom:].decode()
    except UnicodeDecodeError as error:
        at = bom + error.start
        line = data.count(b"\n", 0, at) + 1
        found = f"{path} is not UTF-8 text: byte {at} is 0x{data[at]:02x}, on line {line}"
        raise DataError(found, expected="UTF-8", remedy=_SAVE_AGAIN) from error
    if "\0" in text:
        raise DataError(f"{path} is not text: it holds null bytes", expected="a CSV file")
    return text


def _without_separator_line(text: str) -> tuple[str, int]:
    """Drop the ``sep=;`` line that Excel writes; return the lines dropped as well."""
    first, _, rest = text.partition("\n")
    return (rest, 1) if first.strip().lower().startswith("sep=") else (text, 0)


def _reader(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells); a field that is never closed swallows the end mark, which is how it is noticed."""
    end = "" if text.endswith(("\n", "\r")) else "\n"
    reader = csv.reader(io.StringIO(text + end + _END, newline=""), delimiter=delimiter, skipinitialspace=True)
    line = 1
    for cells in reader:
        yield line, [cell.strip() for cell in cells]
        line = reader.line_num + 1


def _header(text: str, known: Sequence[str], path: Path) -> tuple[str, list[str]]:
    """Take the delimiter that makes most sense of the first line."""
    choices: list[tuple[int, int, str, list[str]]] = []
    problem: csv.Error | None = None
    for delimiter in DELIMITERS:
        try:
            cells = next(cells for _, cells in _reader(text, delimiter) if any(cells))
        except csv.Error as error:  # between wrong delimiters cells may be too long
            problem = error
            continue
        columns = [_column(cell, known) for cell in cells]
        choices.append((len(set(columns) & set(known)), len(columns), delimiter, columns))
    if not choices:
        raise DataError(f"the first line of {path} can't be read as CSV ({problem})") from problem
    _, _, delimiter, columns = max(choices, key=lambda choice: choice[:2])
    return delimiter, columns


def _column(cell: str, known: Sequence[str]) -> str:
    folded = "_".join(cell.casefold().split())
    return folded if folded in known else cell


def _check_columns(columns: Sequence[str], required: Sequence[Sequence[str]], path: Path) -> None:
    found = listing([column or "(no name)" for column in columns])
    for choices in required:
        if not any(column in columns for column in choices):
            raise DataError(
                f"{path} has no column {' or '.join(repr(choice) for choice in choices)} (its columns: {found})",
                expected="a first line that names the columns",
            )
    twice = sorted(column for column, count in Counter(columns).items() if column and count > 1)
    if twice:
        raise DataError(f"{path} has more than one column named {listing([repr(column) for column in twice])}")


def _rows(text: str, delimiter: str, columns: Sequence[str], skipped: int, path: Path) -> Iterator[Row]:
    seen_header = False
    try:
        for first, cells in _reader(text, delimiter):
            line = first + skipped
            if cells == [_END]:
                return
            if cells and cells[-1].endswith(_END):
                raise DataError(f"a quote that opens on line {line} of {path} is never closed")
            if not any(cells):
                continue
            if seen_header:
                yield Row(line, _cells(cells, columns, line, path))
            seen_header = True
    except csv.Error as error:
        raise DataError(f"{path} can't be read as CSV ({error})") from error


def _cells(cells: list[str], columns: Sequence[str], line: int, path: Path) -> dict[str, str]:
    if any(cells[len(columns) :]):
        raise DataError(
            f"line {line} of {path} has {len(cells)} cells",
            expected=f"{len(columns)}, as in its first line",
            remedy="Put a cell that holds the delimiter in quotes.",
        )
    padded = cells + [""] * (len(columns) - len(cells))
    return {column: cell for column, cell in zip(columns, padded, strict=False) if column}
