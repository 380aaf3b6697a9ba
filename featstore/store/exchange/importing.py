"""Importing embeddings that people already have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.errors import DataError, SettingError, StoreNotFoundError
from featstore.recipe import fingerprint
from featstore.store.create import create_store
from featstore.store.exchange.batches import TEXTS, Batch, Header, Options, Source
from featstore.store.exchange.reader import Reader
from featstore.store.exchange.selection import Progress
from featstore.store.exchange.sources import find_sources
from featstore.store.reader import open_store
from featstore.store.writer import StoreWriter

__all__ = ["ImportReport", "import_embeddings"]

FIELDS = ("embeddings", "image", "blob", "repeat", *TEXTS)


@dataclass(frozen=True)
class ImportReport:
    """What was imported.

    Attributes
    ----------
    store : Path
    version : int
        Of the store, now.
    fingerprint : str
    format : str
    files, images, embeddings, dim : int
    """

    store: Path
    version: int
    fingerprint: str
    format: str
    files: int
    images: int
    embeddings: int
    dim: int


def import_embeddings(
    sources: str | Path | Sequence[str | Path],
    target: str | Path,
    *,
    format: str = "auto",
    encoder: str | None = None,
    split: str | None = None,
    dtype: str | None = None,
    columns: Mapping[str, str] | None = None,
    tile_px: int | None = None,
    keep_recipe: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a store of embeddings in other formats, or append them to one of the same recipe, as one version.

    Parameters
    ----------
    sources : path or sequence of paths
        Files, or folders of them.
    target : path
        The store.
    format : {"auto", "npz", "slides", "parquet", "h5ad"}
        By the files' names where it is ``auto``. ``slides`` is one HDF5 file an image, as CLAM, TRIDENT and STAMP
        write them.
    encoder : str, optional
        What made the embeddings; by default as the files name it, or else ``imported``. It is part of the recipe.
    split : {"train", "test"}, optional
        Of images for which the files name none; by default ``train`` for those with a label, ``test`` for others.
    dtype : {"float32", "float16"}, optional
        How they are stored; by default as the store there, or as the files have them.
    columns : mapping, optional
        For fields (``image``, ``sample_index``, ``blob``, ``repeat``, ``label``, ``split``, ``group``, ``embeddings``)
        that the files call otherwise, what they call them. For AnnData ``embeddings`` is a member of ``obsm`` instead
        of X.
    tile_px : int, optional
        Side of a tile in pixels, for slides that don't say: corners become boxes with it.
    keep_recipe : bool
        Take the recipe that featstore's own export carries, so that the fingerprint stays. Only for embeddings that
        nobody has changed since.
    progress : callable, optional
        Called with the embeddings done and those there are.

    Returns
    -------
    ImportReport

    Raises
    ------
    SettingError
        If there is no such format, field or type, ``tile_px`` is below 1, or an encoder is named beside the recipe to
        keep.
    DataError
        If a file can't be used; the message names it. Nothing is imported then.
    RecipeMismatchError
        If the store there has another recipe.
    """
    if keep_recipe and encoder is not None:
        raise SettingError(f"encoder {encoder!r} beside a recipe to keep", expected="one of them")
    options = _options(columns, tile_px, dtype)
    chosen, found = find_sources([sources] if isinstance(sources, (str, Path)) else sources, format)
    with Reader(chosen.name) as reader:
        headers = [reader.header(source, options) for source in found]
        header = _agreed(found, headers, encoder)
        recipe = _kept(header, found[0]) if keep_recipe else _recipe(header, encoder)
        stored = dtype or _type(Path(target), headers)
        with _naming(found[0].path):
            writer = create_store(target, recipe, header.dim, dtype=stored, operation="import")
        with writer:
            writer.how = {"import": {"format": chosen.name, "files": len(found)}}
            done, rows = _Import(writer, split), sum(one.rows for one in headers)
            for source in found:
                for batch in reader.read(source, options):
                    done.add(batch, source)
                    if progress:
                        progress(done.embeddings, rows)
            with _naming(", ".join(str(source.path) for source in found[:3])):
                version = writer.commit()
    counts = (len(found), len(done.said), done.embeddings, header.dim)
    return ImportReport(Path(target), version, fingerprint(recipe), chosen.name, *counts)


@dataclass
class _Import:
    """An import that is going on: what was said of images so far, and how many embeddings of each were numbered."""

    writer: StoreWriter
    split: str | None
    embeddings: int = 0
    said: dict[str, dict[str, str]] = field(default_factory=dict)
    numbered: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, batch: Batch, source: Source) -> None:
        """Add the rows of a batch to the store."""
        with _naming(source.path):
            blobs, repeats = self.keys(batch)
            boxes = () if batch.boxes is None else batch.boxes
            self.writer.add(batch.image, blobs, repeats, batch.embeddings, boxes=boxes, **self.known(batch))
        self.embeddings += len(blobs)

    def known(self, batch: Batch) -> dict[str, Any]:
        """Tell what is known of a batch's image, unless files contradict each other, as ``add`` takes it."""
        said = {name: getattr(batch, name) for name in ("label", "split", "group")}
        first = self.said.setdefault(batch.image, said)
        if said != first:
            name = next(name for name in said if first[name] != said[name])
            one, other = first[name], said[name]
            raise DataError(f"{name} of image {batch.image!r} is {one!r} in one row and {other!r} in another")
        split = self.split or ("train" if batch.label else "test")
        new = {"sample_index": batch.sample_index or batch.image, "split": split}
        return {**{name: value or None for name, value in said.items()}, "new": new}

    def keys(self, batch: Batch) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tell blobs and repeats; without blobs, an image's rows of one repeat are numbered in their order."""
        repeats = np.zeros(len(batch.embeddings), dtype=np.int32) if batch.repeat is None else batch.repeat
        if batch.blob is not None:
            return batch.blob, repeats
        blobs = np.empty(len(repeats), dtype=np.int32)
        for repeat in np.unique(repeats).tolist():
            rows = np.flatnonzero(repeats == repeat)
            first = self.numbered.get((batch.image, repeat), 0)
            blobs[rows] = np.arange(first, first + len(rows))
            self.numbered[batch.image, repeat] = first + len(rows)
        return blobs, repeats


@contextmanager
def _naming(where: str | Path) -> Iterator[None]:
    """Put the file's name before what a store says of its rows."""
    try:
        yield
    except (DataError, SettingError) as error:
        raise DataError(f"{where}: {error.found}", expected=error.expected, remedy=error.remedy) from error


def _options(columns: Mapping[str, str] | None, tile_px: int | None, dtype: str | None) -> Options:
    unknown = sorted(set(columns or {}) - set(FIELDS))
    if unknown:
        raise SettingError(f"no field {unknown[0]!r}", expected=", ".join(FIELDS))
    if tile_px is not None and tile_px < 1:
        raise SettingError(f"tile_px is {tile_px}", expected="1 or more")
    if dtype not in {None, "float32", "float16"}:
        raise SettingError(f"dtype is {dtype!r}", expected="float32 or float16")
    return Options(dict(columns or {}), tile_px)


def _agreed(sources: Sequence[Source], headers: Sequence[Header], encoder: str | None) -> Header:
    """Take what all files say, or name two that differ."""
    plain = [replace(header, encoder=header.encoder or encoder or "", rows=0, dtype="") for header in headers]
    for source, header in zip(sources, plain, strict=True):
        for name in ("dim", "encoder", "facts", "recipe"):
            ours, theirs = getattr(header, name), getattr(plain[0], name)
            if ours != theirs:
                raise DataError(
                    f"{source.path}: {name} is {ours!r}, in {sources[0].path} {theirs!r}",
                    expected="files of one extraction",
                    remedy="Import them into stores of their own.",
                )
    return headers[0]


def _recipe(header: Header, encoder: str | None) -> dict[str, Any]:
    """Say what is known of how the embeddings were computed, and nothing of the files they came in."""
    origin = (header.recipe or {}).get("encoder")
    named = origin.get("name") if isinstance(origin, Mapping) else origin
    name = encoder or header.encoder or (named if isinstance(named, str) else "") or "imported"
    earlier = (header.recipe or {}).get("imported")
    facts = earlier if isinstance(earlier, Mapping) else header.facts
    return {"encoder": {"name": name, "dim": header.dim}, "imported": {**facts, "version": 1}}


def _kept(header: Header, source: Source) -> dict[str, Any]:
    if not header.recipe:
        raise DataError(f"{source.path}: carries no recipe", expected="a file that featstore exported")
    return dict(header.recipe)


def _type(target: Path, headers: Sequence[Header]) -> str:
    """Store half precision where all files have it; into a store of single precision it goes without loss."""
    wanted = "float16" if all(header.dtype == "float16" for header in headers) else "float32"
    try:
        there = open_store(target).dtype
    except StoreNotFoundError:
        return wanted
    return there if wanted == "float16" else wanted
