"""Writing a Parquet table through pyarrow, a row group at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featstore.store.exchange.batches import TEXTS
from featstore.store.exchange.foreign import require
from featstore.store.exchange.selection import Selection

__all__ = ["write_parquet"]

WORDS = ("image", *TEXTS)


def write_parquet(selection: Selection, path: Path) -> None:
    """Write one row an embedding: its key, what is known of its image, and ``embedding``, a list of fixed size."""
    arrow, parquet = require("pyarrow", "Parquet"), require("pyarrow.parquet", "Parquet")
    fields = [(name, arrow.string()) for name in WORDS]
    fields += [(name, arrow.int32()) for name in selection.counts()]
    fields += [("embedding", arrow.list_(arrow.float32(), selection.store.dim))]
    schema = arrow.schema(fields, metadata={"featstore": selection.note()})
    texts = {"image": selection.names(), **selection.texts()}
    # Dictionaries and statistics are of no use for embeddings; a checksum a page is.
    options = {"use_dictionary": list(WORDS), "write_statistics": [*WORDS, "blob", "repeat"]}
    with parquet.ParquetWriter(path, schema, write_page_checksum=True, **options) as writer:
        for piece, rows in selection.pieces():
            words = [texts[name][selection.code[piece]] for name in WORDS]
            columns = [arrow.array(values, arrow.string(), mask=values == "") for values in words]
            columns += [arrow.array(np.ascontiguousarray(values[piece])) for values in selection.counts().values()]
            columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(rows.ravel()), selection.store.dim))
            writer.write_table(arrow.table(columns, schema=schema))
