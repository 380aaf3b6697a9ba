"""Reading one HDF5 file a slide, as CLAM, TRIDENT and STAMP write them: embeddings of tiles and where they are.

CLAM writes ``features`` and ``coords`` without attributes. TRIDENT writes the same, with the encoder's name at
``features`` and the size of tiles at ``coords``. STAMP writes ``feats`` and ``coords``, with attributes of the file.
featstore's own export is CLAM's layout with ``blob``, ``repeat`` and ``boxes`` beside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError
from featstore.store.exchange.batches import TEXTS, Batch, Header, Options, Source, unique_boxes
from featstore.store.exchange.foreign import as_counts, stored_type
from featstore.store.exchange.hdf5 import Rows, child, open_foreign, rows_of
from featstore.store.exchange.tiles import Tiling, tiling_of

__all__ = ["read_slide", "read_slide_header"]

NAMES = ("features", "feats")
NOTE = "featstore"


@dataclass(frozen=True)
class _Slide:
    """An open file: where its embeddings are, and what it says of them.

    Attributes
    ----------
    rows : Rows
    coords : h5py.Dataset or None
        None for the one embedding of a whole slide.
    tiling : Tiling
    encoder : str
    own : dict of str to ndarray
        ``blob``, ``repeat`` and ``boxes`` of featstore's own export.
    note : dict
        What featstore noted at the export.
    """

    rows: Rows
    coords: h5py.Dataset | None
    tiling: Tiling
    encoder: str
    own: Mapping[str, NDArray[np.int32]]
    note: Mapping[str, Any]


def read_slide_header(source: Source, options: Options) -> Header:
    """Read shape, type and attributes."""
    with open_foreign(source.path) as file:
        slide = _look(file, source.path, options)
        (rows, dim), dtype = slide.rows.shape, stored_type(slide.rows.dataset.dtype)
        return Header(rows, dim, dtype, slide.encoder, slide.tiling.facts, slide.note.get("recipe"))


def read_slide(source: Source, options: Options) -> Iterator[Batch]:
    """Read the rows, some at a time; blobs are numbered by row, unless featstore wrote the file."""
    with open_foreign(source.path) as file:
        slide = _look(file, source.path, options)
        image = str(slide.note.get("image") or source.image)
        texts = {name: str(slide.note.get(name, "")) for name in TEXTS}
        for start, embeddings in slide.rows.chunks():
            piece = slice(start, start + len(embeddings))
            blobs = slide.own["blob"][piece] if slide.own else np.arange(start, piece.stop, dtype=np.int32)
            repeats = slide.own["repeat"][piece] if slide.own else np.zeros(len(blobs), dtype=np.int32)
            yield Batch(image, embeddings, blobs, repeats, _boxes(slide, blobs, piece, source.path), **texts)


def _look(file: h5py.File, path: Path, options: Options) -> _Slide:
    options.require_named(file, path)
    names = [options.columns["embeddings"]] if "embeddings" in options.columns else NAMES
    found = [child(file, name, path) for name in names]
    embeddings = next((value for value in found if isinstance(value, h5py.Dataset)), None)
    if embeddings is None:
        there = ", ".join([*file][:10])
        hint = "A store needs no import: it opens as it is." if "embeddings_xxh3" in [*file] else ""
        raise DataError(
            f"{path}: no dataset {' or '.join(map(repr, names))} but {there or 'nothing'}",
            expected="one file a slide, as CLAM, TRIDENT or STAMP write them",
            remedy=hint or "Name the folder with the embeddings, not the one with the tiles' coordinates.",
        )
    rows = rows_of(embeddings, path)
    _refuse_augmented(file, path)
    coords = child(file, "coords", path) if embeddings.ndim > 1 else None
    if coords is not None:
        _require_corners(coords, rows, path)
    of_coords = coords.attrs if coords is not None else {}
    tiling = tiling_of(file.attrs, of_coords, options.tile_px, path)
    encoder = _text(embeddings.attrs, "encoder") or _text(file.attrs, "extractor")
    return _Slide(rows, coords, tiling, encoder, *_own(file, rows, path))


def _require_corners(coords: Any, rows: Rows, path: Path) -> None:
    fits = isinstance(coords, h5py.Dataset) and coords.dtype.kind in "fiu"
    if not fits or coords.shape not in {(rows.shape[0], 2), (1, rows.shape[0], 2)}:
        raise DataError(
            f"{path}: coords of shape {getattr(coords, 'shape', None)} with embeddings of shape {rows.dataset.shape}",
            expected="the two coordinates of each tile",
        )


def _refuse_augmented(file: h5py.File, path: Path) -> None:
    """STAMP's forerunners could append augmented tiles, without saying of which tile."""
    augmented = child(file, "augmented", path)
    if isinstance(augmented, h5py.Dataset) and augmented.dtype == np.bool_ and np.any(augmented[()]):
        raise DataError(
            f"{path}: holds augmented tiles, and doesn't say of which tiles", remedy="Extract without them."
        )


def _own(file: h5py.File, rows: Rows, path: Path) -> tuple[dict[str, NDArray[np.int32]], dict[str, Any]]:
    """Read what featstore's own export says beside, if it wrote the file."""
    note = child(file, NOTE, path)
    if not isinstance(note, h5py.Dataset) or note.dtype.kind != "S" or note.shape != ():
        return {}, {}
    own = {}
    for name, columns in (("blob", ()), ("repeat", ()), ("boxes", (5,))):
        dataset = child(file, name, path)
        several = dataset.shape[1:] == (7,) if columns and isinstance(dataset, h5py.Dataset) else False
        wanted = (rows.shape[0], *((7,) if several else columns))
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != wanted:
            raise DataError(f"{path}: {name} does not fit its {rows.shape[0]} embeddings")
        own[name] = as_counts(dataset[()], name, path)
    return own, dict(json.loads(note[()]))


def _boxes(slide: _Slide, blobs: NDArray[np.int32], piece: slice, path: Path) -> NDArray[np.int32] | None:
    if slide.own:
        return unique_boxes(np.column_stack([blobs, slide.own["boxes"][piece]]))
    if slide.coords is None:
        return None
    coords = slide.coords[piece] if slide.coords.ndim == 2 else slide.coords[0, piece]
    return slide.tiling.boxes(blobs, coords, path)


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes.get(name, "")
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    return text if isinstance(text, str) and text != "None" else ""
