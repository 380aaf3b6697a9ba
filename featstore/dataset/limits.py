"""Every threshold that images and masks are measured by, in one place; those that were changed go into the recipe."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Self

from featstore.dataset.artefact_check import ArtefactLimits
from featstore.dataset.mask_quality import MaskLimits
from featstore.errors import SettingError
from featstore.recipe.crops import Changes

__all__ = ["Limits", "read_limits"]

_MOST, _AREA = 255, "artefacts.subtract.min_kept_px"
"""Levels and windows, in pixels, are no larger; an area may be."""


@dataclass(frozen=True)
class Limits:
    """All thresholds of a check and of an extraction.

    Attributes
    ----------
    artefacts : ArtefactLimits
        Of what is wrong with an image.
    masks : MaskLimits
        Of what is wrong with a mask.
    """

    artefacts: ArtefactLimits = field(default_factory=ArtefactLimits)
    masks: MaskLimits = field(default_factory=MaskLimits)

    @classmethod
    def of(cls, changes: Changes) -> Self:
        """Make those that differ from the defaults in ``changes``, as `CropSettings` has them.

        Raises
        ------
        SettingError
            If there is no such threshold, or its value is none.
        """
        limits = cls()
        for name, values in changes:
            limits = _with(limits, name, name.split("."), values)
        return limits

    @property
    def changes(self) -> Changes:
        """Those that are not the default, by name."""
        usual = dict(_flat(Limits()))
        return tuple(sorted((name, values) for name, values in _flat(self) if values != usual[name]))

    def to_toml(self) -> str:
        """Write all of them as TOML, as `read_limits` reads it."""
        lines: list[str] = []
        table = ""
        for name, values in _flat(self):
            head, _, last = name.rpartition(".")
            if head != table:
                lines += [*([""] if lines else []), f"[{head}]"]
                table = head
            lines.append(f"{last} = {json.dumps(values[0] if len(values) == 1 else list(values))}")
        return "\n".join(lines)


def read_limits(path: str | Path) -> Limits:
    """Read thresholds from a TOML file; those that it does not name keep their defaults.

    Parameters
    ----------
    path : str or Path
        With lines such as ``share = 0.01`` under ``[artefacts.ink]``.

    Raises
    ------
    SettingError
        If the file can't be read, or names what is no threshold.
    """
    try:
        there = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(
            f"{path} can't be read as thresholds ({getattr(error, 'strerror', None) or error})",
            expected="a TOML file",
            remedy="featstore check --show-limits writes all thresholds as one.",
        ) from error
    try:
        return Limits.of(tuple(sorted(_named(there))))
    except SettingError as error:
        raise SettingError(f"{path}: {error.found}", expected=error.expected, remedy=error.remedy) from error


def _named(there: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in there.items():
        if isinstance(value, Mapping):
            yield from _named(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", tuple(value) if isinstance(value, list) else (value,)


def _flat(limits: Any, prefix: str = "") -> Iterator[tuple[str, tuple[float, ...]]]:
    for item in fields(limits):
        value = getattr(limits, item.name)
        if is_dataclass(value):
            yield from _flat(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value if isinstance(value, tuple) else (value,)


def _with(limits: Any, whole: str, path: list[str], values: tuple[Any, ...]) -> Any:
    name, *inner = path
    there = getattr(limits, name, None) if name in {item.name for item in fields(limits)} else None
    if there is None or is_dataclass(there) != bool(inner):
        raise SettingError(
            f"no threshold is called {whole!r}",
            expected="names such as artefacts.ink.share",
            remedy="featstore check --show-limits lists all.",
        )
    if inner:
        return replace(limits, **{name: _with(there, whole, inner, values)})
    usual = there if isinstance(there, tuple) else (there,)
    whole_numbers = all(type(value) is int for value in usual)
    right = (int,) if whole_numbers else (int, float)
    if len(values) != len(usual) or not all(type(value) in right and math.isfinite(value) for value in values):
        kind = "whole number" if whole_numbers else "number"
        raise SettingError(
            f"the threshold {whole} is {list(values)}",
            expected=f"{len(usual)} {kind}{'s' if len(usual) > 1 else ''}, such as {list(usual)}",
        )
    if whole_numbers and (min(values) < 0 or (max(values) > _MOST and whole != _AREA)):
        expected = "0 or more" if whole == _AREA else f"0 to {_MOST}"
        raise SettingError(f"the threshold {whole} is {list(values)}", expected=expected)
    exact = values if whole_numbers else tuple(float(value) for value in values)
    return replace(limits, **{name: exact if isinstance(there, tuple) else exact[0]})
