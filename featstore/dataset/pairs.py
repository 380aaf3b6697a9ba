"""Images and their masks in one folder, paired by name: ``img_0000.png`` and ``mask_0000.png``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featstore.dataset.files import problem_with
from featstore.dataset.names import folded, printable
from featstore.dataset.reasons import Reason
from featstore.dataset.records import listing, plural

__all__ = ["Pair", "pair_files"]

IMAGE_PREFIX, MASK_PREFIX = "img_", "mask_"


@dataclass(frozen=True)
class Pair:
    """An image file and its mask; ``reason`` and ``note`` say what is wrong with the file's name or kind."""

    path: Path
    mask: Path | None
    reason: str = ""
    note: str = ""


def pair_files(files: Sequence[Path]) -> tuple[list[Pair], list[str]]:
    """Pair the images of one folder with their masks.

    Parameters
    ----------
    files : sequence of Path
        The image files of the folder, sorted by name.

    Returns
    -------
    pairs : list of Pair
        In the order of ``files``; also images that can't be used, with a reason.
    warnings : list of str
        Masks without an image, in a sentence.
    """
    masks: dict[str, list[Path]] = {}
    images: dict[Path, str] = {}
    for path in files:
        stem = folded(path.stem)
        if stem.startswith(MASK_PREFIX):
            masks.setdefault(stem.removeprefix(MASK_PREFIX), []).append(path)
        else:
            images[path] = stem.removeprefix(IMAGE_PREFIX)
    first: dict[str, Path] = {}
    pairs = [
        _pair(path, masks.get(number, []), first.setdefault(folded(path.name), path)) for path, number in images.items()
    ]
    numbers = set(images.values())
    return pairs, _orphans([mask for number, found in masks.items() if number not in numbers for mask in found])


def _pair(path: Path, masks: Sequence[Path], twin: Path) -> Pair:
    mask, note = _choose(masks, path)
    if printable(path.name) != path.name:
        return Pair(path, mask, Reason.UNREADABLE, "its name is not UTF-8 text: rename the file")
    if twin != path:
        note = f"{twin.name} in the same folder has this name in another case"
        return Pair(path, mask, Reason.DUPLICATE_NAME, note)
    if problem := problem_with(path):
        return Pair(path, mask, Reason.UNREADABLE, f"it {problem}")
    return Pair(path, mask, note=note)


def _choose(masks: Sequence[Path], image: Path) -> tuple[Path | None, str]:
    """Prefer the mask whose name matches the image's in case and ending; say so when there was a choice."""
    if not masks:
        return None, ""
    prefixed = image.stem[: len(IMAGE_PREFIX)].casefold() == IMAGE_PREFIX
    exact = f"{MASK_PREFIX}{image.stem[len(IMAGE_PREFIX) :] if prefixed else image.stem}{image.suffix}"
    chosen = min(masks, key=lambda mask: (mask.name != exact, mask.name))
    note = "" if len(masks) == 1 else f"of {len(masks)} masks of its name, {chosen.name} is used"
    return chosen, note


def _orphans(masks: Sequence[Path]) -> list[str]:
    if not masks:
        return []
    names = [printable(f"{mask.parent.name}/{mask.name}") for mask in masks]
    return [f"{plural(len(masks), 'mask')} without an image: {listing(names)}"]
