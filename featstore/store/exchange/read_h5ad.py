"""Reading AnnData's ``.h5ad``: X (or a member of obsm) some rows at a time, and of obs the columns that matter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.store.exchange.batches import COUNTS, TEXTS, Batch, Chunk, Header, Options, Source, batches_of
from featstore.store.exchange.foreign import as_counts, as_text, require, stored_type
from featstore.store.exchange.hdf5 import Rows, child, open_foreign, rows_of

__all__ = ["read_h5ad", "read_h5ad_header"]

KIND = "an .h5ad file"
NOTE = "uns/featstore"


def read_h5ad_header(source: Source, options: Options) -> Header:
    """Read shape and type of the embeddings."""
    require("anndata", ".h5ad")
    with open_foreign(source.path, KIND) as file:
        rows = _embeddings(file, source.path, options)
        obs = child(file, "obs", source.path)
        named = {name: column for name, column in options.columns.items() if name != "embeddings"}
        Options(named).require_named(obs if isinstance(obs, h5py.Group) else (), source.path)
        return Header(*rows.shape, stored_type(rows.dataset.dtype), recipe=_recipe(file, source.path))


def read_h5ad(source: Source, options: Options) -> Iterator[Batch]:
    """Read the rows."""
    return batches_of(_chunks(source.path, options), source.path)


def _chunks(path: Path, options: Options) -> Iterator[Chunk]:
    with open_foreign(path, KIND) as file:
        rows = _embeddings(file, path, options)
        counts, texts = {}, {}
        for name in COUNTS:
            values = _column(file, options.name(name), path)
            if values is not None:
                counts[name] = as_counts(_plain(values), name, path)
        for name in TEXTS:
            values = _column(file, options.name(name), path)
            if values is not None:
                texts[name] = as_text(_plain(values), name, path)
        images = _images(file, path, options)
        _require_lengths({"image": images, **counts, **texts}, rows, path)
        for start, embeddings in rows.chunks():
            piece = slice(start, start + len(embeddings))
            yield Chunk(
                embeddings,
                images[piece],
                {name: values[piece] for name, values in counts.items()},
                {name: values[piece] for name, values in texts.items()},
            )


def _embeddings(file: h5py.File, path: Path, options: Options) -> Rows:
    name = options.columns.get("embeddings")
    where = f"obsm/{name}" if name and name != "X" else "X"
    found = child(file, where, path)
    if isinstance(found, h5py.Group):
        remedy = "Make it dense: adata.X = adata.X.toarray()." if where == "X" else ""
        raise DataError(f"{path}: {where} is no dense array", expected="a dense array, (n, dim)", remedy=remedy)
    if not isinstance(found, h5py.Dataset) or found.ndim != 2:
        there = child(file, "obsm", path)
        names = ", ".join(there) if isinstance(there, h5py.Group) else "nothing"
        raise DataError(
            f"{path}: no array {where}", expected=f"embeddings in X, or in obsm, which holds {names or 'nothing'}"
        )
    return rows_of(found, path)


def _images(file: h5py.File, path: Path, options: Options) -> NDArray[np.object_]:
    """Tell the image of each row: the column, or the names of the observations."""
    values = _column(file, options.name("image"), path)
    if values is None:
        obs = child(file, "obs", path)
        index = obs.attrs.get("_index", "_index") if isinstance(obs, h5py.Group) else "_index"
        values = _column(file, str(index), path)
    if values is None:
        raise DataError(f"{path}: obs has neither a column 'image' nor names")
    return as_text(_plain(values), "image", path)


def _column(file: h5py.File, name: str, path: Path) -> Any:
    """Read a column of obs through anndata, once every part of it was seen to be in this file."""
    if "/" in name:
        return None
    found = child(file, f"obs/{name}", path)
    if isinstance(found, h5py.Group) and any(isinstance(child(found, part, path), h5py.Group) for part in found):
        raise DataError(f"{path}: obs/{name} is no column", expected="text or whole numbers")
    return None if found is None else require("anndata.io", ".h5ad").read_elem(found)


def _plain(values: Any) -> NDArray[Any]:
    """Turn a categorical, a nullable or a plain column into an array, missing values into None."""
    if isinstance(values, np.ndarray):
        return values
    pandas = require("pandas", ".h5ad")
    column = pandas.Series(values)
    if pandas.api.types.is_integer_dtype(column.dtype) and not column.isna().any():
        return np.asarray(column.to_numpy(dtype=np.int64))
    return np.asarray(column.astype(object).where(column.notna(), None).to_numpy(dtype=object))


def _require_lengths(columns: dict[str, NDArray[Any]], rows: Rows, path: Path) -> None:
    for name, values in columns.items():
        if values.shape != rows.shape[:1]:
            raise DataError(f"{path}: {name} of shape {values.shape} with embeddings of shape {rows.shape}")


def _recipe(file: h5py.File, path: Path) -> dict[str, Any] | None:
    note = child(file, NOTE, path)
    if not isinstance(note, h5py.Dataset) or note.shape != ():
        return None
    recipe = json.loads(require("anndata.io", ".h5ad").read_elem(note)).get("recipe")
    return dict(recipe) if recipe else None
