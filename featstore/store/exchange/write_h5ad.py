"""Writing AnnData's ``.h5ad`` through anndata; X alone is put in piece by piece, as anndata would hold all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.store.exchange.foreign import require
from featstore.store.exchange.hdf5 import create_foreign
from featstore.store.exchange.selection import Selection

__all__ = ["write_h5ad"]


def write_h5ad(selection: Selection, path: Path) -> None:
    """Write embeddings as X; keys, label, split and group as obs; recipe, fingerprint and version as uns."""
    anndata, io = require("anndata", ".h5ad"), require("anndata.io", ".h5ad")
    pandas = require("pandas", ".h5ad")
    dim = selection.store.dim
    names = pandas.Index([f"e{number}" for number in range(dim)], dtype=object)
    around = anndata.AnnData(
        obs=_observations(selection, pandas), var=pandas.DataFrame(index=names), uns={"featstore": selection.note()}
    )
    with create_foreign(path) as file:
        io.write_elem(file, "/", around)
        io.write_elem(file, "X", np.zeros((1, dim), dtype=np.float32))
        marks = dict(file["X"].attrs)
        del file["X"]
        matrix = file.create_dataset("X", shape=(len(selection), dim), dtype=np.float32)
        matrix.attrs.update(marks)
        for piece, rows in selection.pieces():
            matrix[piece] = rows


def _observations(selection: Selection, pandas: Any) -> Any:
    """Make the table of observations."""
    names, code = selection.names(), selection.code
    columns = {"image": pandas.Categorical.from_codes(code, names.astype(object))}
    columns |= selection.counts()
    for name, values in selection.texts().items():
        columns[name] = _categorical(values, code, pandas)
    keys = zip(names[code].tolist(), selection.blob.tolist(), selection.repeat.tolist(), strict=True)
    index = pandas.Index([f"{image}:{blob}:{repeat}" for image, blob, repeat in keys], dtype=object)
    return pandas.DataFrame(columns, index=index)


def _categorical(values: NDArray[np.str_], code: NDArray[np.int32], pandas: Any) -> Any:
    """Make a categorical of what images say; an empty text is a missing value."""
    said = np.unique(values[values != ""])
    place = {text: number for number, text in enumerate(said.tolist())}
    numbers = np.array([place.get(text, -1) for text in values.tolist()])
    return pandas.Categorical.from_codes(numbers[code], said.astype(object))
