"""Settings as JSON in one canonical form, its fingerprint, and settings read back from it.

A field that was added when stores were out there already is made with `later`: while it has its default, which asks for
what was done before there was the field, it is left out of the JSON. So the recipes of these stores keep their
fingerprints, and the stores can be read and continued.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, field, fields, is_dataclass
from numbers import Integral, Real
from typing import Any, get_args, get_type_hints

from featstore.errors import SettingError

__all__ = [
    "canonical_json",
    "different_wholes",
    "differences",
    "fingerprint",
    "is_number",
    "is_whole",
    "later",
    "plain_of",
    "read_as",
    "require",
]

_LATER = "left out at its default"


def later(default: Any) -> Any:
    """Make a dataclass field that stays out of the recipe's JSON while it has its default."""
    return field(default=default, metadata={_LATER: True})


def plain_of(settings: Any) -> dict[str, Any]:
    """Lay settings out as a mapping, without those added `later` that have their default."""
    told = {item.name: getattr(settings, item.name) for item in fields(settings)}
    kept = {item.name: told[item.name] for item in fields(settings) if not _is_left_out(item, told[item.name])}
    return {name: plain_of(value) if is_dataclass(value) else value for name, value in kept.items()}


def _is_left_out(item: Field[Any], value: Any) -> bool:
    return _LATER in item.metadata and bool(value == item.default)


def read_as(kind: type[Any], value: Any, where: str) -> Any:
    """Check one value against the type that it is to have; fields of a dataclass must all be there, and no others."""
    if is_dataclass(kind):
        return _read_fields(kind, value, where)
    if parts := get_args(kind):
        if parts[-1] is ... and isinstance(value, list | tuple):
            parts = parts[:1] * len(value)
        ok = isinstance(value, list | tuple) and len(value) == len(parts)
        require(ok, f"{where} is {value!r}", f"{len(parts)} numbers")
        return tuple(read_as(part, item, where) for part, item in zip(parts, value, strict=True))
    require(type(value) in {kind, *((int,) if kind is float else ())}, f"{where} is {value!r}", kind.__name__)
    return value


def _read_fields(kind: type[Any], there: Any, where: str) -> Any:
    """Read a dataclass; only fields that were added `later` may be missing, and these stand there for a reason."""
    require(isinstance(there, Mapping), f"{where} is {there!r}", "an object")
    types, items = get_type_hints(kind), {item.name: item for item in fields(kind)}
    for word, odd in (
        ("no", [name for name, item in items.items() if name not in there and _LATER not in item.metadata]),
        ("an unknown", [name for name in there if name not in items]),
    ):
        require(not odd, f"{where} has {word} field {odd[0]!r}" if odd else "", "the recipe of featstore extract")
    values = {name: read_as(types[name], value, f"{where}.{name}") for name, value in there.items()}
    for name, value in values.items():
        found = f"{where}.{name} is {value!r}, as without it"
        require(not _is_left_out(items[name], value), found, "no such field while it has its default")
    return kind(**values)


def require(ok: bool, found: str, expected: str) -> None:
    """Raise `SettingError` unless ``ok``."""
    if not ok:
        raise SettingError(found, expected=expected)


def is_whole(value: Any, low: int = 1) -> bool:
    """Tell whether ``value`` is a whole number, ``low`` or more; True and False are none."""
    return type(value) is not bool and isinstance(value, Integral) and int(value) >= low


def is_number(value: Any, low: float, high: float) -> bool:
    """Tell whether ``value`` is a number from ``low`` up to, and without, ``high``; True and False are none."""
    return type(value) is not bool and isinstance(value, Real) and low <= float(value) < high


def different_wholes(value: Any) -> tuple[int, ...]:
    """Return a sequence of different whole numbers, 0 or more, as plain ones; empty for whatever else is given."""
    listed = getattr(value, "ndim", 0) == 1 or (isinstance(value, Sequence) and not isinstance(value, str | bytes))
    items = tuple(value) if listed else ()
    return tuple(map(int, items)) if all(is_whole(item, 0) for item in items) and len(set(items)) == len(items) else ()


def canonical_json(value: Any) -> str:
    """Write ``value`` as JSON in the one form that is hashed: sorted keys, no spaces, UTF-8, finite numbers.

    Raises
    ------
    SettingError
        If ``value`` holds something that JSON can't, a number that is not finite, or a key that is no text.
    """
    try:
        _require_text_keys(value)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingError(
            f"a recipe, or how it was computed, can't be written as JSON ({error})",
            expected="strings, finite numbers, booleans, lists and mappings of these",
        ) from error
    return text


def _require_text_keys(value: Any) -> None:
    """Refuse other keys: JSON makes text of a number, which then sorts otherwise than it did."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise TypeError(f"the key {name!r} is no text")
            _require_text_keys(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _require_text_keys(inner)


def fingerprint(recipe: Mapping[str, Any]) -> str:
    """SHA-256 of the recipe's canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(dict(recipe)).encode()).hexdigest()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """List the fields in which two recipes differ, as (dotted path, ours, theirs)."""
    left, right = dict(_flatten(ours)), dict(_flatten(theirs))
    paths = sorted(left.keys() | right.keys())
    return [(path, left.get(path), right.get(path)) for path in paths if left.get(path) != right.get(path)]


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(item) if isinstance(item, tuple) else item
