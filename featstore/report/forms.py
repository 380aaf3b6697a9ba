"""What the files of other commands hold, as far as a page uses it: every value of a kind that can be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "COMPARISON",
    "ESTIMATE",
    "OF_COMPARISON",
    "OF_ESTIMATE",
    "OF_SWEPT_ROW",
    "ORIGIN",
    "SWEPT_ROW",
    "fits",
    "is_list",
]

Check = Callable[[Any], bool]

_LARGEST = 10**12


def fits(value: Any, needed: Mapping[str, Check], more: Mapping[str, Check] | None = None) -> bool:
    """Tell whether a mapping has all that is needed, of the right kinds, and ``more``, where it has it, as well."""
    if not isinstance(value, dict) or not all(name in value and check(value[name]) for name, check in needed.items()):
        return False
    return all(check(value[name]) for name, check in (more or {}).items() if name in value)


def is_list(value: Any, check: Check) -> bool:
    """Tell whether something is a list of which each passes."""
    return isinstance(value, list) and all(map(check, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _numbers_or_none(*names: str) -> dict[str, Check]:
    return dict.fromkeys(names, _or_none(_is_number))


_FIGURE = {"mean": _is_number} | _numbers_or_none("std", "ci_low", "ci_high")
_OF_CLASS = {"images": _is_count} | _numbers_or_none("f1", "precision", "recall", "f1_ci_low", "f1_ci_high")
_OF_FOLD = _numbers_or_none("val_accuracy", "val_macro_f1", "test_macro_f1")


def _is_figure(value: Any) -> bool:
    return fits(value, _FIGURE)


def _is_table_of_classes(value: Any) -> bool:
    return isinstance(value, dict) and all(fits(row, _OF_CLASS) for row in value.values())


def _is_system(value: Any) -> bool:
    """Tell whether something is the row of a system: its figures, and the published ones."""
    published = _numbers_or_none("val_macro_f1", "test_macro_f1")
    needed = {"system": _is_text, "macro_f1": _is_figure, "published": lambda known: fits(known, published)}
    return fits(value, needed | _OF_FOLD, {"what": _or_none(_is_text)})


def _is_number_of_repeats(value: Any) -> bool:
    """Tell whether something is the row of a number of repeats, beside what was published of it."""
    published = _numbers_or_none("test_macro_f1")
    needed = {"repeats": _is_count, "macro_f1": _is_figure, "published": lambda known: fits(known, published)}
    return fits(value, needed | _numbers_or_none("test_macro_f1"))


ORIGIN: dict[str, Check] = dict.fromkeys(("fingerprint", "data_digest"), _or_none(_is_text)) | {
    "version": _or_none(_is_count)
}
"""On what anything was found."""

ESTIMATE: dict[str, Check] = (
    dict.fromkeys(("macro_f1", "accuracy", "ece", "brier", "log_loss"), _is_figure)
    | dict.fromkeys(("images", "groups", "folds", "seeds"), _is_count)
    | {"per_class": _is_table_of_classes}
)
OF_ESTIMATE: dict[str, Check] = dict.fromkeys(("preset", "scales", "labels"), _or_none(_is_text)) | {
    "repeats": _or_none(_is_count),
    "versions": lambda value: is_list(value, _is_count),
}

SWEPT_ROW: dict[str, Check] = (
    dict.fromkeys(("store", "preset"), _is_text)
    | {"repeats": _is_count, "images": _is_count, "max_blobs": _or_none(_is_count), "macro_f1_mean": _is_number}
    | _numbers_or_none("macro_f1_std", "macro_f1_ci_low", "macro_f1_ci_high")
)
OF_SWEPT_ROW: dict[str, Check] = {
    "scales": _or_none(_is_text),
    "macro_f1_by_seed": lambda value: is_list(value, _is_number),
}

COMPARISON: dict[str, Check] = {
    "systems": lambda value: is_list(value, _is_system),
    "repeats": lambda value: is_list(value, _is_number_of_repeats),
}
OF_COMPARISON: dict[str, Check] = dict.fromkeys(("images", "outer_folds", "seeds"), _is_count) | {
    "store": _or_none(_is_text),
    "from_scratch": _is_bool,
}
