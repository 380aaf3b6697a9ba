"""Writing a Parquet table through pyarrow, a row group at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featstore.store.exchange.batches import BOX_COLUMNS
from featstore.store.exchange.foreign import require_extra
from featstore.store.exchange.selection import Selection

__all__ = ["write_parquet"]

WORDS = ("image", "label", "split", "group")


def write_parquet(selection: Selection, path: Path) -> None:
    """Write one row an embedding: image, blob, repeat, label, split, group, and ``embedding``, a list of fixed size."""
    arrow, parquet = require_extra("pyarrow", "Parquet"), require_extra("pyarrow.parquet", "Parquet")
    boxes = () if selection.boxes is None else BOX_COLUMNS
    fields = [(name, arrow.string()) for name in WORDS]
    fields += [(name, arrow.int32()) for name in ("blob", "repeat", *boxes)]
    fields += [("embedding", arrow.list_(arrow.float32(), selection.store.dim))]
    schema = arrow.schema(fields, metadata={"featstore": selection.note()})
    texts = {"image": selection.names(), **selection.texts()}
    # Dictionaries and statistics are of no use for embeddings; a checksum a page is.
    options = {"use_dictionary": list(WORDS), "write_statistics": [*WORDS, "blob", "repeat"]}
    with parquet.ParquetWriter(path, schema, write_page_checksum=True, **options) as writer:
        for piece, rows in selection.pieces():
            words = [texts[name][selection.code[piece]] for name in WORDS]
            columns = [arrow.array(values, arrow.string(), mask=values == "") for values in words]
            counts = [selection.blob[piece], selection.repeat[piece]]
            counts += [] if selection.boxes is None else list(selection.boxes[piece].T)
            columns += [arrow.array(np.ascontiguousarray(values)) for values in counts]
            columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(rows.ravel()), selection.store.dim))
            writer.write_table(arrow.table(columns, schema=schema))
