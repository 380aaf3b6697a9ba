"""Which formats can be imported, and which files a user means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore.errors import DataError, SettingError
from featstore.store.exchange.batches import Batch, Header, Options, Source
from featstore.store.exchange.read_h5ad import read_h5ad, read_h5ad_header
from featstore.store.exchange.read_npz import read_npz, read_npz_header
from featstore.store.exchange.read_parquet import read_parquet, read_parquet_header
from featstore.store.exchange.read_slides import read_slide, read_slide_header

__all__ = ["FORMATS", "Format", "find_sources"]


@dataclass(frozen=True)
class Format:
    """A format that can be imported: the suffixes of its files, how to look at one and to read one, and with what."""

    name: str
    suffixes: tuple[str, ...]
    header: Callable[[Source, Options], Header]
    read: Callable[[Source, Options], Iterator[Batch]]
    libraries: tuple[str, ...] = ()


FORMATS = {
    entry.name: entry
    for entry in (
        Format("npz", (".npz",), read_npz_header, read_npz),
        Format("slides", (".h5", ".hdf5"), read_slide_header, read_slide),
        Format("parquet", (".parquet", ".pq"), read_parquet_header, read_parquet, ("pyarrow.parquet",)),
        Format("h5ad", (".h5ad",), read_h5ad_header, read_h5ad, ("anndata.io", "pandas")),
    )
}


def find_sources(paths: Sequence[str | Path], wanted: str = "auto") -> tuple[Format, list[Source]]:
    """List the files to import, those of folders in the order of their names, and tell their format.

    The image of a file is its path within the folder, or its name, without the suffix.

    Raises
    ------
    SettingError
        If there is no such format.
    DataError
        If something is not there, there is nothing to import, the format can't be told, or two files of one image
        are among them.
    """
    if wanted not in {"auto", *FORMATS}:
        raise SettingError(f"format is {wanted!r}", expected=", ".join(["auto", *FORMATS]))
    if not paths:
        raise DataError("no files to import", expected="files, or folders of them")
    formats = list(FORMATS.values()) if wanted == "auto" else [FORMATS[wanted]]
    suffixes = tuple(suffix for entry in formats for suffix in entry.suffixes)
    found = [source for path in paths for source in _files(Path(path), suffixes, any_name=wanted != "auto")]
    kinds = {entry.name: entry for entry in formats for source in found if _is_of(source.path, entry)}
    if len(kinds) > 1:
        raise DataError(
            f"files of several formats: {', '.join(sorted(kinds))}", remedy="Import them one after another."
        )
    chosen = next(iter(kinds.values()), formats[0])
    if chosen.name == "slides":
        _require_distinct(found)
    return chosen, found


def _is_of(path: Path, entry: Format) -> bool:
    return path.suffix.lower() in entry.suffixes


def _files(path: Path, suffixes: tuple[str, ...], *, any_name: bool) -> list[Source]:
    if path.is_dir():
        folder = path / "h5_files" if (path / "h5_files").is_dir() else path  # CLAM keeps pt_files beside
        files = [
            Path(root, name)
            for root, _, names in os.walk(folder)
            for name in names
            if name.lower().endswith(suffixes) and not name.startswith(".")
        ]
        if not files:
            raise DataError(f"{path}: nothing to import", expected=f"files named *{', *'.join(suffixes)}")
        return [Source(file, file.relative_to(folder).with_suffix("").as_posix()) for file in sorted(files)]
    if not path.is_file():
        raise DataError(f"{path}: {'not a file' if path.exists() else 'not there'}", expected="a file or a folder")
    if not any_name and not path.name.lower().endswith(suffixes):
        raise DataError(
            f"{path}: its name doesn't tell its format",
            expected=f"a name that ends in {', '.join(suffixes)}",
            remedy=f"Name it: --format {' or '.join(FORMATS)}",
        )
    return [Source(path, path.stem)]


def _require_distinct(sources: Sequence[Source]) -> None:
    first: dict[str, Path] = {}
    for source in sources:
        if source.image in first:
            raise DataError(f"{first[source.image]} and {source.path} are both of image {source.image!r}")
        first[source.image] = source.path
