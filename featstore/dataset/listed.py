"""A CSV that lists images: ``image`` and optionally ``mask``, ``label``, ``split``, ``group`` and ``mpp``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from featstore.dataset.files import is_missing, problem_with
from featstore.dataset.labels import clean_split, join_spellings
from featstore.dataset.names import folded, image_key, printable
from featstore.dataset.reasons import Reason
from featstore.dataset.records import Dataset, ImageRecord, listing, make_dataset, plural
from featstore.dataset.tables import Row, Table, read_table
from featstore.errors import DataError

__all__ = ["read_listed"]

COLUMNS = ("image", "mask", "label", "split", "group", "mpp")


def read_listed(path: Path) -> Dataset:
    """List the images that a CSV names, in its order; paths are relative to the CSV.

    Raises
    ------
    DataError
        If the file is no such table, a row names no image or a pixel size that is none, or no image is there.
    LabelError
        If a split is neither train nor test.
    """
    table = _read(path)
    labels, warnings = join_spellings([row.get("label") for row in table.rows])
    records = [_record(row, label, path) for row, label in zip(table.rows, labels, strict=True)]
    if not records:
        raise DataError(f"{path} lists no image", expected="a row an image")
    missing = [record.sample_index for record in records if record.reason == Reason.MISSING]
    if len(missing) == len(records):
        remedy = f"Write paths relative to {path.parent}, or absolute ones."
        raise DataError(f"none of the images in {path} is there: {listing(missing)}", remedy=remedy)
    return make_dataset(path.parent, "csv", _without_twins(records, table), [*warnings, *_summary(records, missing)])


def _read(path: Path) -> Table:
    table = read_table(path, known=(*COLUMNS, "sample_index"))
    if "image" in table.columns:
        return table
    found = f"{path} has no column 'image' (its columns: {', '.join(table.columns)})"
    if "sample_index" in table.columns:
        found += ": it is a label file, not a list of images"
        raise DataError(found, remedy="Give the folder that holds train_data and test_data instead.")
    raise DataError(found, expected="a first line that names the columns, image among them")


def _record(row: Row, label: str, csv_path: Path) -> ImageRecord:
    where = f"on line {row.line} of {csv_path}"
    cell = row.get("image")
    if not cell:
        raise DataError(f"no image {where}", expected="the path of an image")
    path = _resolve(cell, csv_path.parent)
    reason, note = _file_reason(path)
    mask, mask_note = _mask(row.get("mask"), csv_path.parent)
    split = clean_split(row.get("split"), where) or ("train" if label else "test")
    if split == "train" and not label and not reason:
        reason, note = Reason.NO_LABEL, f"it has no label {where}"
    return ImageRecord(
        image=image_key(path, csv_path.parent),
        sample_index=printable(cell),
        position=0,
        path=path,
        mask_path=mask,
        label=label,
        split=split,
        group=row.get("group"),
        mpp=_mpp(row.get("mpp"), where),
        reason=reason,
        note="; ".join(part for part in (note, mask_note) if part),
    )


def _file_reason(path: Path) -> tuple[str, str]:
    problem = problem_with(path)
    if not problem:
        return "", ""
    return (Reason.MISSING if is_missing(path) else Reason.UNREADABLE), f"it {problem}"


def _resolve(cell: str, folder: Path) -> Path:
    """Take a path as written; with backslashes, which only Windows reads, also the other way round."""
    path = folder / cell
    if "\\" in cell and is_missing(path):
        return folder / cell.replace("\\", "/")
    return path


def _mask(cell: str, folder: Path) -> tuple[Path | None, str]:
    if not cell:
        return None, ""
    path = _resolve(cell, folder)
    return (None, f"its mask {cell} is not there") if is_missing(path) else (path, "")


def _mpp(cell: str, where: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell.replace(",", "."))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"mpp is {cell!r} {where}", expected="micrometres a pixel, a number above 0")
    return value


def _without_twins(records: Sequence[ImageRecord], table: Table) -> list[ImageRecord]:
    """Keep the first row of an image; later ones become rows with a reason, and with a key of their own."""
    first: dict[str, int] = {}
    labels: dict[str, set[str]] = {}
    for record in records:
        labels.setdefault(folded(record.image), set()).add(record.label)
    kept = []
    for record, row in zip(records, table.rows, strict=True):
        name, line = folded(record.image), row.line
        if name in first:
            note = f"line {first[name]} of {table.path.name} names this image already"
            key = f"{record.image} (line {line})"
            record = replace(record, image=key, reason=Reason.DUPLICATE_NAME, note=note)
        elif len(said := labels[name] - {""}) > 1 and not record.reason:
            note = f"{table.path.name} says {' and '.join(map(repr, sorted(said)))}"
            record = replace(record, label="", reason=Reason.LABEL_CONFLICT, note=note)
        first.setdefault(name, line)
        kept.append(record)
    return kept


def _summary(records: Sequence[ImageRecord], missing: Sequence[str]) -> list[str]:
    warnings = []
    if missing:
        warnings.append(f"{plural(len(missing), 'image')} not there: {listing(missing)}")
    lacking = [record.sample_index for record in records if record.reason == Reason.NO_LABEL]
    if lacking:
        warnings.append(f"{plural(len(lacking), 'training image')} without a label: {listing(lacking)}")
    twins = len(records) - len({folded(record.image) for record in records})
    if twins:
        warnings.append(f"{plural(twins, 'row')} repeat an image that an earlier row names; only the first is used")
    return warnings
