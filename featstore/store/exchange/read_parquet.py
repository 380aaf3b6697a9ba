"""Reading a Parquet table, one row an embedding, batch by batch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.store.exchange.batches import (
    BOX_COLUMNS,
    COUNTS,
    SCALE_COLUMNS,
    TEXTS,
    Batch,
    Chunk,
    Header,
    Options,
    Source,
    batches_of,
)
from featstore.store.exchange.foreign import (
    as_counts,
    as_text,
    numbers_in,
    reading,
    require,
    rows_at_a_time,
    stored_type,
)

__all__ = ["read_parquet", "read_parquet_header"]

KIND = "a Parquet table"
NOTE = b"featstore"
# Pages are read when their rows are wanted: otherwise pyarrow reads ahead, up to the whole file.
_READING = {"page_checksum_verification": True, "pre_buffer": False, "buffer_size": 2**20}
_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]{0,6})")


@dataclass(frozen=True)
class _Table:
    """An open file: its reader, which columns are embeddings (a list, or one a number), their length and type."""

    file: Any
    embeddings: list[str]
    listed: bool
    dim: int
    dtype: np.dtype[Any]
    columns: Mapping[str, str]


def read_parquet_header(source: Source, options: Options) -> Header:
    """Read the schema, and as much as tells the length of an embedding."""
    with _open(source.path, options) as table:
        note = json.loads((table.file.schema_arrow.metadata or {}).get(NOTE, b"{}"))
        rows = table.file.metadata.num_rows
        return Header(rows, table.dim, stored_type(table.dtype), recipe=note.get("recipe"))


def read_parquet(source: Source, options: Options) -> Iterator[Batch]:
    """Read the rows."""
    return batches_of(_chunks(source.path, options), source.path)


def _chunks(path: Path, options: Options) -> Iterator[Chunk]:
    with _open(path, options) as table:
        rows = rows_at_a_time(table.dim * table.dtype.itemsize * 4, path)  # pyarrow holds some copies of a batch
        names = [*table.embeddings, *table.columns.values()]
        for batch in table.file.iter_batches(batch_size=rows, columns=names):
            if len(batch):
                yield Chunk(
                    _embeddings(batch, table, path),
                    _text(batch, table.columns["image"], path, required=True),
                    {name: _count(batch, name, table, path) for name in COUNTS if name in table.columns},
                    {name: _text(batch, table.columns[name], path) for name in TEXTS if name in table.columns},
                )


@contextmanager
def _open(path: Path, options: Options) -> Iterator[_Table]:
    parquet = require("pyarrow.parquet", "Parquet")
    with reading(path, KIND), parquet.ParquetFile(path, **_READING) as file:
        yield _look(file, path, options)


def _look(file: Any, path: Path, options: Options) -> _Table:
    names = file.schema_arrow.names
    options.require_named(names, path)
    columns = {name: options.name(name) for name in ("image", *COUNTS, *TEXTS) if options.name(name) in names}
    if "image" not in columns:
        raise DataError(f"{path}: no column 'image' but {', '.join(names[:10])}", expected="image")
    chosen = next((name for name in (options.name("embeddings"), "embedding") if name in names), None)
    if file.metadata.num_rows == 0:
        raise DataError(f"{path}: no rows", remedy="Leave the file out.")
    if chosen is None:
        numbered = _numbered(file.schema_arrow, path)
        types = {file.schema_arrow.field(name).type for name in numbered}
        dtype = np.result_type(*(kind.to_pandas_dtype() for kind in types))
        dim, embeddings = len(numbered), numbered
    else:
        kind = file.schema_arrow.field(chosen).type
        dtype = np.dtype(getattr(kind, "value_type", kind).to_pandas_dtype())
        dim, embeddings = _length(file, chosen, kind, path), [chosen]
    numbers_in(dtype, (file.metadata.num_rows, dim), "embeddings", path)
    return _Table(file, embeddings, chosen is not None, dim, dtype, columns)


def _numbered(schema: Any, path: Path) -> list[str]:
    """Find the columns e0, e1, ... of floating-point numbers, whatever the word before the number."""
    arrow = require("pyarrow", "Parquet")
    found: dict[str, set[int]] = {}
    for column in schema:
        match = _NUMBERED.fullmatch(column.name)
        if match and arrow.types.is_floating(column.type):
            found.setdefault(match[1], set()).add(int(match[2]))
    whole = [prefix for prefix, numbers in found.items() if numbers == set(range(len(numbers)))]
    if len(whole) != 1:
        raise DataError(
            f"{path}: {'several' if whole else 'no'} columns of embeddings among {', '.join(schema.names[:10])}",
            expected="a list column 'embedding', or one column a number: e0, e1, ...",
        )
    return [f"{whole[0]}{number}" for number in range(len(found[whole[0]]))]


def _length(file: Any, name: str, kind: Any, path: Path) -> int:
    """Tell the length of the lists in a column: that of the type, or of the first list."""
    arrow = require("pyarrow", "Parquet")
    if arrow.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    if not (arrow.types.is_list(kind) or arrow.types.is_large_list(kind)):
        raise DataError(f"{path}: column {name!r} holds {kind}", expected="a list of numbers a row")
    first = next(file.iter_batches(batch_size=1, columns=[name])).column(0)
    return len(first[0]) if first.null_count == 0 else 0


def _embeddings(batch: Any, table: _Table, path: Path) -> NDArray[Any]:
    if not table.listed:
        columns = [batch.column(name) for name in table.embeddings]
        _require_no_nulls(columns, path)
        return np.column_stack([column.to_numpy(zero_copy_only=False) for column in columns])
    lists = batch.column(table.embeddings[0])
    values = lists.flatten()
    _require_no_nulls([lists, values], path)
    lengths = np.diff(lists.offsets.to_numpy()) if hasattr(lists, "offsets") else np.array([table.dim])
    if (lengths != table.dim).any() or len(values) != len(batch) * table.dim:
        raise DataError(
            f"{path}: embeddings of {lengths.min()} to {lengths.max()} numbers", expected="all of one length"
        )
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(batch), table.dim)


def _require_no_nulls(columns: list[Any], path: Path) -> None:
    if any(column.null_count for column in columns):
        raise DataError(f"{path}: an embedding is missing, or a number of one", expected="finite numbers in every row")


def _count(batch: Any, name: str, table: _Table, path: Path) -> NDArray[np.int32]:
    column = batch.column(table.columns[name])
    if column.null_count and name in (*BOX_COLUMNS, *SCALE_COLUMNS):
        column = column.fill_null(0)
    if column.null_count:
        raise DataError(f"{path}: {name} is missing in a row", expected="a whole number in every row")
    return as_counts(column.to_numpy(zero_copy_only=False), name, path)


def _text(batch: Any, name: str, path: Path, *, required: bool = False) -> NDArray[np.object_]:
    column = batch.column(name)
    if required and column.null_count:
        raise DataError(f"{path}: {name} is missing in a row", expected="a name in every row")
    values = np.array([*column.to_pylist(), ""], dtype=object)[:-1]
    return as_text(values, name, path)
