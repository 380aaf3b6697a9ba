"""Exporting a store, or a part of it, into formats that others read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import SettingError, StoreWriteError
from featstore.store.disk.files import check_target, draft
from featstore.store.exchange.selection import Progress, Selection, select
from featstore.store.exchange.write_clam import write_clam
from featstore.store.exchange.write_h5ad import write_h5ad
from featstore.store.exchange.write_npz import write_npz
from featstore.store.exchange.write_parquet import write_parquet
from featstore.store.reader import Store

__all__ = ["EXPORTS", "ExportReport", "export_embeddings"]

_FILES: dict[str, Callable[[Selection, Path], None]] = {
    "h5ad": write_h5ad,
    "npz": write_npz,
    "parquet": write_parquet,
}
_SUFFIXES = {".h5ad": "h5ad", ".npz": "npz", ".parquet": "parquet", ".pq": "parquet", "": "clam"}

EXPORTS = (*_FILES, "clam")


@dataclass(frozen=True)
class ExportReport:
    """What was exported.

    Attributes
    ----------
    out : Path
    format : str
    version : int
        Of the store.
    fingerprint : str
    images, embeddings, dim : int
    """

    out: Path
    format: str
    version: int
    fingerprint: str
    images: int
    embeddings: int
    dim: int


def export_embeddings(
    store: Store,
    target: str | Path,
    *,
    format: str = "auto",
    repeats: int | None = None,
    split: str = "all",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write embeddings with their keys, labels, splits and groups in another format, whole or not at all.

    An export that is killed leaves a file or folder beside the target, ``.tmp-`` and 16 digits: delete it by hand.

    Parameters
    ----------
    store : Store
    target : path
        The file, or for ``clam`` the folder, of which there is none yet.
    format : {"auto", "h5ad", "parquet", "npz", "clam"}
        By the name of ``target`` where it is ``auto``. ``clam`` is one HDF5 file an image.
    repeats : int, optional
        Repeats up to this one, 0 for the clean crops alone; all by default.
    split : {"train", "test", "all"}
    overwrite : bool
        Replace what is there: a file, or a folder that holds an earlier export and nothing else.
    progress : callable, optional
        Called with the embeddings done and those there are.

    Returns
    -------
    ExportReport

    Raises
    ------
    StoreWriteError
        If something is there already, or can't be written; what was there stays as it was.
    DataError
        If there is nothing to export.
    """
    target = Path(target)
    chosen = _format(format, target)
    _require_free(store, target, overwrite=overwrite)
    selection = select(store, repeats, split, progress)
    if chosen == "clam":
        write_clam(selection, target)
    else:
        _write_file(_FILES[chosen], selection, target, overwrite=overwrite)
    return ExportReport(
        target, chosen, store.version, store.fingerprint, len(selection.images), len(selection), store.dim
    )


def _format(wanted: str, target: Path) -> str:
    if wanted not in {"auto", *EXPORTS}:
        raise SettingError(f"format is {wanted!r}", expected=", ".join(["auto", *EXPORTS]))
    chosen = _SUFFIXES.get(target.suffix.lower()) if wanted == "auto" else wanted
    if chosen is None:
        raise SettingError(
            f"{target}: its name doesn't tell the format",
            expected="a name that ends in .h5ad, .parquet or .npz, or that of a folder",
            remedy=f"Name it: --format {' or '.join(EXPORTS)}",
        )
    return chosen


def _require_free(store: Store, target: Path, *, overwrite: bool) -> None:
    """Refuse a target that is there, and one in the store itself."""
    if store.owns(target):
        raise StoreWriteError(f"{target}: is in the store itself", remedy="Name another place.")
    empty = target.is_dir() and not any(target.iterdir())
    if not overwrite and not empty and (target.exists() or target.is_symlink()):
        raise StoreWriteError(f"{target}: there already", remedy="Name another place, or replace it with --overwrite.")


def _write_file(
    write: Callable[[Selection, Path], None], selection: Selection, target: Path, *, overwrite: bool
) -> None:
    check_target(target)
    target = target.resolve()
    with draft(target) as file:
        write(selection, file.path)
        if overwrite:
            file.keep_as(target)
        elif not file.keep_exclusively_as(target):
            raise StoreWriteError(f"{target}: there already", remedy="Name another place.")
