"""The dataset: what there is of each class, what was left out and why, and how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from featstore.dataset import Reason
from featstore.report.charts import MOST_BARS, class_bars
from featstore.report.words import percent, plural
from featstore.store import ImageRow, Store
from featstore.store.images import twin_groups

__all__ = ["data_section", "left_out"]

Values = dict[str, Any]

_EXAMPLES, _MOST_CLASSES_SHOWN, _MOST_OF_A_REASON, _MOST_VERSIONS, _MOST_GROUPS = 8, 12, 200, 100, 10

_SOURCES = {
    "tissue": "no usable mask: tissue was found on the image itself",
    "mask_cleaned": "the mask was cleaned of specks and of what lies off the tissue",
    "whole_mask": "no blob of the mask was large enough: the whole mask was taken as one",
    "whole_image": "no usable mask and no tissue found: the whole image was taken as one blob",
}

_REASONS = {
    Reason.MISSING: "the file is not there",
    Reason.DUPLICATE_NAME: "another image has the same name",
    Reason.UNREADABLE: "not a whole image",
    Reason.TOO_LARGE: "more pixels than fit into memory",
    Reason.MASK_UNREADABLE: "the mask is not a whole image",
    Reason.MASK_SIZE: "the mask is of another size than the image",
    Reason.NO_BLOB: "nothing to crop, in the mask or on the image",
    Reason.FAILED: "something went wrong; the next extraction tries again",
    Reason.NO_LABEL: "a training image without a label",
    Reason.LABEL_CONFLICT: "labelled more than once, and not the same",
    Reason.CONTAMINATED_GREEN: "too much of the tissue is green",
    Reason.CONTAMINATED_BROWN: "too much of the tissue is brown",
    Reason.CONTAMINATED_YELLOW: "too much of the tissue is yellow",
    Reason.CONTAMINATED_INK: "too much of the tissue is under pen ink",
    Reason.CONTAMINATED_TEXTURE: "the texture of the tissue was replaced",
}


def data_section(store: Store) -> Values:
    """Collect what the section shows."""
    usable = store.usable()
    counts = _class_counts(usable)
    labelled = {name: row.get("train", 0) for name, row in counts.items() if name}
    return {
        "info": store.info(),
        "splits": Counter(row.split for row in usable.values()),
        "classes": counts,
        "bars": class_bars(counts) if counts else "",
        "bars_left_out": max(len(counts) - MOST_BARS, 0),
        "balance": _balance({name: count for name, count in labelled.items() if count}),
        "groups": _groups({name: row for name, row in usable.items() if row.split == "train" and row.label}),
        "examples": _examples(usable),
        "reasons": _reasons(store),
        "sources": _sources(usable),
        "recipe": list(_flat(store.recipe)),
        "log": list(islice(store.log(), _MOST_VERSIONS)),
        "most_versions": _MOST_VERSIONS,
    }


def left_out(store: Store) -> dict[str, ImageRow]:
    """Return the images without embeddings that count, in the order of the input."""
    usable = store.usable()
    rows = sorted((row for name, row in store.images.items() if name not in usable), key=lambda row: row.position)
    return {row.image: row for row in rows}


def _class_counts(usable: Mapping[str, ImageRow]) -> dict[str, Counter[str]]:
    """Count images by class and split, the largest class first, those without a label (an empty one) last."""
    counts: dict[str, Counter[str]] = {}
    for row in usable.values():
        counts.setdefault(row.label, Counter())[row.split] += 1
    order = sorted(counts, key=lambda name: (not name, -counts[name].total(), name))
    return {name: counts[name] for name in order}


def _balance(counts: Mapping[str, int]) -> Values | None:
    """Tell how uneven classes are, and what always naming the largest one would score on the training images."""
    if len(counts) < 2:
        return None
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    total = sum(counts.values())
    share = counts[largest] / total
    return {
        "largest": largest,
        "smallest": smallest,
        "ratio": counts[largest] / counts[smallest],
        "accuracy": share,
        "macro_f1": 2 * share / (1 + share) / len(counts),
        "share": percent(share),
    }


def _groups(usable: Mapping[str, ImageRow]) -> Values:
    sizes = Counter(twin_groups(usable.values()).values())
    together = [(name, count) for name, count in sizes.most_common() if count > 1]
    named = {row.group for row in usable.values() if row.group}
    return {
        "count": len(sizes),
        "named": len(named),
        "several": len(together),
        "images": sum(count for _, count in together),
        "largest": together[:_MOST_GROUPS],
    }


def _examples(usable: Mapping[str, ImageRow]) -> dict[str, list[str]]:
    """Choose some images of each class, evenly over its images by name."""
    names: dict[str, list[str]] = {}
    for name, row in usable.items():
        names.setdefault(row.label, []).append(name)
    if len(names) > _MOST_CLASSES_SHOWN:
        return {}
    return {label: _spread(sorted(names[label]), _EXAMPLES) for label in _class_counts(usable)}


def _spread(names: list[str], most: int) -> list[str]:
    places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    return [names[place] for place in places]


def _reasons(store: Store) -> list[Values]:
    """Group what was left out by its reason, the most frequent one first."""
    by_reason: dict[str, list[ImageRow]] = {}
    for row in left_out(store).values():
        by_reason.setdefault(row.left_out or "no embedding", []).append(row)
    known = {str(reason): words for reason, words in _REASONS.items()}
    return [
        {
            "code": code,
            "words": known.get(code, ""),
            "count": len(rows),
            "images": [(row.image, row.note, row.label) for row in rows[:_MOST_OF_A_REASON]],
            "more": max(len(rows) - _MOST_OF_A_REASON, 0),
        }
        for code, rows in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _sources(usable: Mapping[str, ImageRow]) -> list[tuple[str, list[str]]]:
    """List images that were cropped otherwise than by blobs of their mask."""
    found: dict[str, list[str]] = {}
    for name, row in usable.items():
        if row.source in _SOURCES:
            found.setdefault(_SOURCES[row.source], []).append(name)
    return [(f"{plural(len(names), 'image')}: {words}", names[:_MOST_OF_A_REASON]) for words, names in found.items()]


def _flat(recipe: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """List settings as (name, value), names of what is inside something by a dot."""
    for name, value in recipe.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            told = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield f"{before}{name}", told
