"""Labels, splits and groups belong to a version, not to the embeddings: a new version can change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featstore.errors import LabelError
from featstore.store.disk.commits import Change, commit
from featstore.store.disk.versions import read_version
from featstore.store.images import ImageRow

__all__ = ["NameMatch", "NewLabel", "Relabelled", "match_names", "relabel"]


@dataclass(frozen=True)
class NewLabel:
    """What an image is to be called from now on; empty fields change nothing.

    Attributes
    ----------
    name : str
        The image's key, or its ``sample_index``.
    label, group : str
    split : str
        ``train`` or ``test``. Left empty, an image without a label that gets one goes into ``train``.
    """

    name: str
    label: str = ""
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class NameMatch:
    """Which images names mean.

    Attributes
    ----------
    keys : dict of str to str
        The image's key for each name that was found.
    unknown : list of str
        Names that mean no image.
    shared : list of str
        Names that a training and a test image share: the training image was taken.
    """

    keys: dict[str, str]
    unknown: list[str]
    shared: list[str]


class Relabelled(NamedTuple):
    """What a relabelling did.

    Attributes
    ----------
    version : int
        The version now; the same as before when nothing changed.
    changed : int
        Number of images that changed.
    match : NameMatch
    moved : list of str
        Images that went from test to train because they got their first label.
    new_classes : list of str
        Labels that no image had before, in a store where some had one: perhaps misspelt.
    """

    version: int
    changed: int
    match: NameMatch
    moved: list[str]
    new_classes: list[str]


def match_names(images: Mapping[str, ImageRow], names: Iterable[str]) -> NameMatch:
    """Find the images that names mean.

    A name is the image's key or its ``sample_index``. Training and test images of a challenge share file names: the
    training image is meant then.

    Raises
    ------
    LabelError
        If a name could mean several images of one split, two names mean the same image, or none means any.
    """
    names = list(names)
    by_index: dict[str, list[ImageRow]] = {}
    for row in images.values():
        by_index.setdefault(row.sample_index, []).append(row)
    match = NameMatch({}, [], [])
    for name in names:
        found = [images[name]] if name in images else by_index.get(name, [])
        if len({row.split for row in found}) > 1:
            match.shared.append(name)
            found = [row for row in found if row.split == "train"]
        if len(found) > 1:
            raise LabelError(
                f"{name!r} could mean {found[0].image!r} or {found[1].image!r}",
                remedy="Write the image's key, as store.keys has it.",
            )
        if found:
            match.keys[name] = found[0].image
        else:
            match.unknown.append(name)
    _require_some_and_distinct(match.keys, images, names)
    return match


def relabel(path: str | Path, labels: Iterable[NewLabel]) -> Relabelled:
    """Commit new labels, splits and groups as the next version, embeddings untouched.

    Returns
    -------
    Relabelled

    Raises
    ------
    LabelError
        If the names can't be told: see `match_names`.
    """
    folder, wanted = Path(path), {label.name: label for label in labels}
    base = read_version(folder)
    match = match_names(base.images, wanted)
    change = Change("label", edits={key: partial(_renamed, wanted[name], key) for name, key in match.keys.items()})
    rows = change.rows(base)
    version = commit(base, change).number if rows else base.number
    asked = {key for name, key in match.keys.items() if wanted[name].split}
    trained = (row.image for row in rows if row.split == "train" and row.image not in asked)
    moved = [image for image in trained if base.images[image].split == "test"]
    known = base.images.counts("label", np.arange(len(base.images)))
    new = sorted({row.label for row in rows} - {"", *known}) if known else []
    return Relabelled(version, len(rows), match, moved, new)


def _require_some_and_distinct(keys: Mapping[str, str], images: Mapping[str, ImageRow], names: Sequence[str]) -> None:
    if not keys:
        row = next(iter(images.values()), ImageRow("none: it is empty"))
        meant = f"the name {names[0]!r}" if len(names) == 1 else f"any of the {len(names)} names given"
        found = f"no image of the store has {meant}"
        raise LabelError(found, expected=f"names such as {row.sample_index or row.image!r}")
    first: dict[str, str] = {}
    for name, key in keys.items():
        if key in first:
            raise LabelError(f"{first[key]!r} and {name!r} both mean {key!r}", expected="one row an image")
        first[key] = name


def _renamed(new: NewLabel, image: str, row: ImageRow | None) -> ImageRow:
    row = row or ImageRow(image)
    split = new.split or ("train" if new.label and not row.label else row.split)
    return replace(row, label=new.label or row.label, split=split, group=new.group or row.group)
