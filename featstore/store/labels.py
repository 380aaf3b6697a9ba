"""Labels, splits and groups belong to a version, not to the embeddings: a new version can change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from featstore.errors import LabelError
from featstore.store.images import ImageRow
from featstore.store.versions import Change, commit, read_version

__all__ = ["NewLabel", "match_names", "relabel"]


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


def match_names(images: Mapping[str, ImageRow], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Find the images that names mean.

    A name is the image's key or its ``sample_index``. Training and test images of a challenge share file names: the
    training image is meant then.

    Returns
    -------
    keys : dict of str to str
        The image's key for each name that was found.
    unknown : list of str
        Names that mean no image.

    Raises
    ------
    LabelError
        If a name could mean several images.
    """
    by_index: dict[str, list[ImageRow]] = {}
    for row in images.values():
        by_index.setdefault(row.sample_index, []).append(row)
    keys: dict[str, str] = {}
    unknown: list[str] = []
    for name in names:
        found = [images[name]] if name in images else by_index.get(name, [])
        if len(found) > 1:
            found = [row for row in found if row.split == "train"] or found
        if len(found) > 1:
            raise LabelError(
                f"{name!r} could mean {found[0].image!r} or {found[1].image!r}",
                remedy="Write the image's key, as store.keys has it.",
            )
        if found:
            keys[name] = found[0].image
        else:
            unknown.append(name)
    return keys, unknown


def relabel(path: str | Path, labels: Iterable[NewLabel]) -> tuple[int, int, list[str]]:
    """Commit new labels, splits and groups as the next version, embeddings untouched.

    Returns
    -------
    version : int
        The version now; the same as before when nothing changed.
    changed : int
        Number of images that changed.
    unknown : list of str
        Names that mean no image of the store.

    Raises
    ------
    LabelError
        If a name could mean several images, or none of them is in the store.
    """
    folder, wanted = Path(path), {label.name: label for label in labels}
    base = read_version(folder)
    keys, unknown = match_names(base.images, wanted)
    if not keys:
        example = next(iter(base.images), "nothing")
        raise LabelError(
            f"{folder}: none of {len(wanted)} names is in the store", expected=f"names such as {example!r}"
        )
    rows = [(base.images[key], _renamed(base.images[key], wanted[name])) for name, key in keys.items()]
    changes = tuple(new for old, new in rows if new != old)
    version = commit(folder, base, Change("label", images=changes)).number if changes else base.number
    return version, len(changes), unknown


def _renamed(row: ImageRow, new: NewLabel) -> ImageRow:
    split = new.split or ("train" if new.label and not row.label else row.split)
    return replace(row, label=new.label or row.label, split=split, group=new.group or row.group)
