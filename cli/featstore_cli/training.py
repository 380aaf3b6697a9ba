"""What commands that learn from a store share: which images, labels, groups and repeats, and which preset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featstore_cli.output import counted, warn, warn_of_names

if TYPE_CHECKING:
    from featstore.errors import LabelError
    from featstore.store import Bags, JoinedBags, Store

__all__ = [
    "GroupOption",
    "LabelsOption",
    "Preset",
    "PresetOption",
    "RepeatsOption",
    "SeedOption",
    "aligned_bags",
    "model_of",
    "training_bags",
    "warn_of_few_groups",
]


class Preset(StrEnum):
    """The presets of the toolkit."""

    m4 = "m4"
    m5 = "m5"


_FEW_GROUPS = 20

PresetOption = Annotated[
    Preset, typer.Option(help="m4: an MLP on image means. m5: an MLP on blobs fused with XGBoost.")
]
RepeatsOption = Annotated[
    int | None, typer.Option(min=0, help="Use repeats up to this one.", show_default="all that are stored")
]
LabelsOption = Annotated[Path | None, typer.Option(dir_okay=False, help="CSV of sample_index,label to use instead.")]
GroupOption = Annotated[
    str | None, typer.Option(help="Column of --labels whose equal values stay in one fold (patient, slide).")
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of folds and heads.")]


def model_of(preset: Preset, **settings: Any) -> Any:
    """Make a preset's ensemble."""
    from featstore.toolkit import m4, m5

    return {"m4": m4, "m5": m5}[preset.value](**settings)


def training_bags(
    stores: Sequence[Store],
    repeats: int | None,
    labels: Path | None,
    group: str | None,
    *,
    max_blobs: int | None = None,
) -> Bags | JoinedBags:
    """Collect the labelled images to learn from, those that are in all stores, and warn of those that are not.

    Raises
    ------
    LabelError
        If there are none, or of one class.
    DataError
        If several stores have no image in common, or other files or labels under one name.
    typer.BadParameter
        If the group's column is not there.
    """
    from featstore.errors import DataError
    from featstore.store import join_bags, require_same_content

    if len(stores) == 1:
        bags = _bags(stores[0], repeats, labels, group, max_blobs, labelled=True)
    else:
        require_same_content(stores)
        views = [_bags(store, repeats, labels, group, max_blobs, labelled=False) for store in stores]
        joined = join_bags(views)
        if not len(joined):
            raise DataError(
                f"{' and '.join(str(store.path) for store in stores)} have no image in common",
                expected="stores of the same images",
            )
        _warn_of_images_left_out(max(map(len, views)) - len(joined))
        bags = joined[joined.labels != ""]
    _check(bags, " and ".join(str(store.path) for store in stores), labels)
    return bags


def aligned_bags(bags: Sequence[Bags | JoinedBags], stores: Sequence[Store]) -> list[Bags | JoinedBags]:
    """Take what is to be compared to the same images and groups, and warn of images that not all have."""
    from featstore.store import align_bags, require_same_content

    require_same_content(stores)
    aligned = align_bags(bags)
    _warn_of_images_left_out(max(map(len, bags)) - len(aligned[0]))
    return aligned


def warn_of_few_groups(bags: Bags | JoinedBags) -> None:
    """Warn where a bootstrap over groups has too few of them."""
    if (count := len(set(bags.groups.tolist()))) < _FEW_GROUPS:
        warn(f"only {counted(count, 'group')} of images: with fewer than {_FEW_GROUPS} intervals come out too narrow")


def _warn_of_images_left_out(count: int) -> None:
    if count:
        warn(f"{counted(count, 'image')} not used: only those that have embeddings in all of the stores are")


def _bags(
    store: Store,
    repeats: int | None,
    labels: Path | None,
    group: str | None,
    max_blobs: int | None,
    *,
    labelled: bool,
) -> Bags:
    if labels is not None:
        return _bags_labelled_by(labels, store, repeats, group, max_blobs, labelled=labelled)
    if group not in {None, "group"}:
        raise typer.BadParameter("needs --labels with a CSV that has this column", param_hint="--group")
    return store.bags("train", repeats=repeats, max_blobs=max_blobs, labelled=labelled)


def _bags_labelled_by(
    labels: Path, store: Store, repeats: int | None, group: str | None, max_blobs: int | None, *, labelled: bool
) -> Bags:
    """Take labels, and groups where a column is named, from a CSV instead of the store."""
    from featstore.dataset.labels import read_label_csv
    from featstore.dataset.records import listing
    from featstore.store import match_names

    table = read_label_csv(labels)
    for text in table.warnings:
        warn(text)
    if group and group not in table.columns:
        found = f"{labels} has no column {group!r} but {listing(table.columns)}"
        raise typer.BadParameter(found, param_hint="--group")
    rows = {row.sample_index: row for row in table.rows}
    match = match_names(store.images, rows)
    warn_of_names(match, store.path)
    split = "train" if store.usable("train") else "all"
    given = {key: rows[name].label for name, key in match.keys.items()}
    _warn_of_labels_not_used(labels, store, split, [key for key, label in given.items() if label])
    return store.bags(
        split,
        repeats=repeats,
        max_blobs=max_blobs,
        labels=given,
        groups={key: rows[name].cells.get(group, "") for name, key in match.keys.items()} if group else None,
        labelled=labelled,
    )


def _warn_of_labels_not_used(labels: Path, store: Store, split: str, named: Sequence[str]) -> None:
    usable = store.usable(split)
    why: Counter[str] = Counter()
    for key in named:
        if key not in usable:
            row = store.images[key]
            of_test = split == "train" and row.split == "test"
            left_out = "that are left out" if row.left_out else "without embeddings"
            why["in the test split" if of_test else left_out] += 1
    if why:
        reasons = ", ".join(f"{count} of images {reason}" for reason, count in sorted(why.items()))
        warn(f"{counted(why.total(), 'label')} of {labels} not used: {reasons}")


def _check(bags: Bags | JoinedBags, store: str, labels: Path | None) -> None:
    """Refuse images that are not of two classes, and warn where some have fewer repeats."""
    if len(set(bags.labels.tolist())) < 2:
        raise _too_few_classes(bags, store, labels)
    if bags.lacking_repeats:
        warn(
            f"{counted(bags.lacking_repeats, 'image')} of {len(bags)} have fewer repeats than others; "
            f"to complete them: featstore extract DATA --store {store} --repeats {max(bags.repeats)}"
        )


def _too_few_classes(bags: Bags | JoinedBags, store: str, labels: Path | None) -> LabelError:
    """Name what the labels came from: the store, or a CSV that was given instead."""
    from featstore.errors import LabelError

    columns = "(columns sample_index,label)"
    remedy = f"Label more images: featstore store label CSV, or featstore fit --labels CSV {columns}."
    if labels is not None:
        remedy = f"Add labels of training images to {labels} {columns}."
    if len(bags):
        found = f"{labels or store}: one class, {str(bags.labels[0])!r}, in {counted(len(bags), 'label')}"
        return LabelError(found, expected="two classes or more", remedy=remedy)
    found = f"{store} has no labelled training images"
    if labels is not None:
        found = f"{labels} has no label for any training image of {store}"
    return LabelError(found, expected="labels of two classes or more", remedy=remedy)
