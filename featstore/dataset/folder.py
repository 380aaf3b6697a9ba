"""A plain folder of images: all of them, and those in its subfolders, to be predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from featstore.dataset.challenge import LABELS
from featstore.dataset.files import is_folder, is_image_name, list_folder
from featstore.dataset.names import image_key
from featstore.dataset.pairs import Pair, pair_files
from featstore.dataset.records import Dataset, ImageRecord, listing, make_dataset
from featstore.errors import DataError

__all__ = ["read_folder"]


def read_folder(root: Path) -> Dataset:
    """List the images of a folder and its subfolders, sorted by path.

    Files that are named ``mask_0000.png`` beside ``img_0000.png`` or ``0000.png`` are masks. All images have the split
    ``test`` and no label.

    Raises
    ------
    DataError
        If there is no image, or a folder can't be listed.
    """
    found: list[Pair] = []
    warnings: list[str] = []
    tables: list[str] = []
    for entries in _folders(root, set()):
        pairs, orphans = pair_files([path for path in entries if is_image_name(path.name)])
        found += pairs
        warnings += orphans
        tables += [path.name for path in entries if path.suffix.lower() == ".csv" and path.parent == root]
    if not found:
        raise _nothing(root, tables, warnings)
    if tables:
        warnings.append(f"{listing(tables)} in {root} not read: to use a table of images and labels, give its own path")
    labels = root.absolute().parent / LABELS
    if labels.is_file():
        warnings.append(f"{labels} not read: for labels and splits give DATA as the folder that it is in")
    records = sorted((_record(pair, root) for pair in found), key=lambda record: record.image)
    return make_dataset(root, "folder", records, warnings)


def _folders(folder: Path, seen: set[tuple[int, int]]) -> Iterator[list[Path]]:
    """Yield what lies in a folder and in each below it; links are followed, but into no folder twice."""
    entries = list_folder(folder)
    status = folder.stat()
    seen.add((status.st_dev, status.st_ino))
    yield entries
    for path in entries:
        if is_folder(path) and not is_image_name(path.name):
            status = path.stat()
            if (status.st_dev, status.st_ino) not in seen:
                yield from _folders(path, seen)


def _record(pair: Pair, root: Path) -> ImageRecord:
    key = image_key(pair.path, root)
    return ImageRecord(
        image=key,
        sample_index=key,
        position=0,
        path=pair.path,
        mask_path=pair.mask,
        label="",
        split="test",
        group="",
        mpp=None,
        reason=pair.reason,
        note=pair.note,
    )


def _nothing(root: Path, tables: list[str], warnings: list[str]) -> DataError:
    remedy = f"Give the table's own path: {root / tables[0]}." if tables else ""
    return DataError(
        "; ".join([f"no image in {root} or below it", *warnings]),
        expected="train_data/ and test_data/, a CSV that lists images, or a folder of images",
        remedy=remedy,
    )
