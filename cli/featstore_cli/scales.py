"""Which of a store's scales a command uses, and how: ``1``, ``1+2``, ``1:2``, ``tiles``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from featstore.store import Bags, JoinedBags, Store

__all__ = ["ScalesOption", "check_scales", "read_scales"]

_POOLED, _BESIDE, _TILES = "+", ":", "tiles"

ScalesOption = Annotated[
    str | None,
    typer.Option(
        metavar="1+2",
        help="Crops to use: 2, those at scale 2; 1+2, of both, pooled; 1:2, side by side; tiles.",
        show_default="all that are stored, pooled",
    ),
]


def read_scales(text: str | None, option: str = "--scales") -> dict[str, Any]:
    """Read scales as the presets take them: ``scales`` and ``how``, or nothing for all.

    Raises
    ------
    typer.BadParameter
        If they are no scales.
    """
    if text is None:
        return {}
    sign = _BESIDE if _BESIDE in text else _POOLED
    words = [word.strip() for word in text.split(sign)]
    ok = all(re.fullmatch(rf"[1-9][0-9]?|{_TILES}", word) for word in words)
    if not ok or len(set(words)) < len(words):
        raise typer.BadParameter(
            f"{text!r} is none of: 2 (one scale), 1+2 (pooled), 1:2 (side by side), tiles", param_hint=option
        )
    scales = tuple(0 if word == _TILES else int(word) for word in words)
    return {"scales": scales, "how": "concatenate" if sign == _BESIDE else "pool"}


def check_scales(
    bags: Bags | JoinedBags, stores: Sequence[Store], wanted: Iterable[dict[str, Any]], option: str = "--scales"
) -> None:
    """Refuse, before any work, scales that a store does not have; the message names it, and the option.

    Raises
    ------
    SettingError
    """
    from featstore.errors import SettingError
    from featstore.store import JoinedBags
    from featstore.store.scales import checked_scales

    views = bags.views if isinstance(bags, JoinedBags) else (bags,)
    for given in filter(None, wanted):
        for store, view in zip(stores, views, strict=True):
            try:
                checked_scales(given["scales"], view.scales)
            except SettingError as error:
                found = f"{option}: {store.path} has {error.found}"
                raise SettingError(found, expected=error.expected, remedy=error.remedy) from error
