"""The challenge layout: ``train_data/`` and ``test_data/`` with images and masks, and ``train_labels.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from featstore.dataset.files import is_folder, is_image_name, is_missing, list_folder
from featstore.dataset.labels import LabelRow, LabelTable, read_label_csv
from featstore.dataset.names import NameIndex, image_key, printable
from featstore.dataset.pairs import Pair, pair_files
from featstore.dataset.reasons import Reason
from featstore.dataset.records import Dataset, ImageRecord, listing, make_dataset, plural
from featstore.errors import DataError

__all__ = ["is_challenge", "read_challenge"]

FOLDERS = {"train": "train_data", "test": "test_data"}
LABELS = "train_labels.csv"


def is_challenge(folder: Path) -> bool:
    """Tell whether a folder has the challenge layout; one of the two image folders is enough."""
    return any(is_folder(folder / name) for name in FOLDERS.values())


def read_challenge(root: Path) -> Dataset:
    """List the images of a challenge folder, training images first.

    Raises
    ------
    DataError
        If there is no image, or the label file can't be read.
    """
    train, train_warnings = _split(root, "train")
    test, test_warnings = _split(root, "test")
    if not train and not test:
        raise DataError(f"no image in {root / 'train_data'} or {root / 'test_data'}", expected="img_0000.png and so on")
    train, label_warnings = _label(train, root)
    return make_dataset(root, "challenge", [*train, *test], [*label_warnings, *train_warnings, *test_warnings])


def _split(root: Path, split: str) -> tuple[list[ImageRecord], list[str]]:
    folder = root / FOLDERS[split]
    if not is_folder(folder):
        return [], []
    pairs, warnings = pair_files([path for path in list_folder(folder) if is_image_name(path.name)])
    return [_record(pair, root, split) for pair in pairs], warnings


def _record(pair: Pair, root: Path, split: str) -> ImageRecord:
    return ImageRecord(
        image=image_key(pair.path, root),
        sample_index=printable(pair.path.name),
        position=0,
        path=pair.path,
        mask_path=pair.mask,
        label="",
        split=split,
        group="",
        mpp=None,
        reason=pair.reason,
        note=pair.note,
    )


def _label(records: Sequence[ImageRecord], root: Path) -> tuple[list[ImageRecord], list[str]]:
    """Give training images their labels, or the reason why they have none."""
    path = root / LABELS
    if not records and is_missing(path):
        return [], []
    table = read_label_csv(path) if not is_missing(path) else None
    said, warnings = _by_file(table, records)
    labelled = [_with_label(record, said.get(record.sample_index, [])) for record in records]
    lacking = [record.image for record in labelled if record.reason == Reason.NO_LABEL]
    if table is None:
        warnings.append(f"there is no {LABELS} in {root}: the training images have no labels")
    elif lacking:
        warnings.append(f"{plural(len(lacking), 'training image')} without a label in {LABELS}: {listing(lacking)}")
    return labelled, warnings


def _by_file(table: LabelTable | None, records: Sequence[ImageRecord]) -> tuple[dict[str, list[LabelRow]], list[str]]:
    """Sort the rows of the label file by the file name that they mean; warn of those that mean none."""
    said: dict[str, list[LabelRow]] = {}
    if table is None:
        return said, []
    index = NameIndex(record.sample_index for record in records)
    strangers = []
    for row in table.rows:
        if (name := index.find(row.sample_index)) is None:
            strangers.append(row.sample_index)
        else:
            said.setdefault(name, []).append(row)
    warnings = list(table.warnings)
    if strangers:
        found = f"{plural(len(strangers), 'label')} in {table.path.name} for images that are not in train_data"
        warnings.append(f"{found}: {listing(strangers)}")
    return said, warnings


def _with_label(record: ImageRecord, rows: Sequence[LabelRow]) -> ImageRecord:
    labels = {row.label: row for row in rows if row.label}
    conflict = next((row.conflict for row in rows if row.conflict), "")
    if len(labels) > 1:
        conflict = " and ".join(f"{LABELS} says {label!r} (line {row.line})" for label, row in labels.items())
    label = "" if conflict else next(iter(labels), "")
    group = next((row.group for row in rows if row.group), "")
    labelled = replace(record, label=label, group=group)
    if record.reason or label:
        return labelled
    if conflict:
        return replace(labelled, reason=Reason.LABEL_CONFLICT, note=conflict)
    return replace(labelled, reason=Reason.NO_LABEL, note=record.note or f"{LABELS} has no label for it")
