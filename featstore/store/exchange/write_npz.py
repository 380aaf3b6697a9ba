"""Writing ``.npz``, an array at a time and each of them piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from featstore.store.exchange.selection import Selection

__all__ = ["write_npz"]


def write_npz(selection: Selection, path: Path) -> None:
    """Write what ``numpy.load`` reads: embeddings, image, blob, repeat, sample_index, label, split and group."""
    n = len(selection)
    shape = (n, selection.store.dim)
    with ZipFile(path, "w", ZIP_STORED) as archive:
        _write(archive, "embeddings", shape, np.dtype("<f4"), (rows for _, rows in selection.pieces()))
        for name, values in {"image": selection.names(), **selection.texts()}.items():
            pieces = (values[selection.code[start : start + 2**16]] for start in range(0, n, 2**16))
            _write(archive, name, (n,), values.dtype, pieces)
        for name, counts in selection.counts().items():
            _write(archive, name, (n,), np.dtype("<i4"), [counts])
        note = np.array(selection.note())
        _write(archive, "featstore", (), note.dtype, [note])


def _write(
    archive: ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Iterable[NDArray[Any]]
) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for piece in pieces:
            stream.write(np.ascontiguousarray(piece, dtype=dtype).data.cast("B") if piece.ndim else piece.tobytes())
