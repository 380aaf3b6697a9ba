"""How numbers and names stand on a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from featstore.dataset.records import plural

__all__ = ["UNLABELLED", "crowded", "number", "percent", "plural", "shortened", "shown", "span"]

UNLABELLED = "(no label)"
"""What stands in a chart or a legend for images without one; a class may be called anything."""

LONGEST_NAME = 24
"""On a chart; tables have all of it."""

_LETTERS_OF_HEAD = 60


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure, a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def span(low: float | None, high: float | None) -> str:
    """Write an interval."""
    return "-" if low is None or high is None or low != low or high != high else f"{low:.3f} to {high:.3f}"


def percent(share: float) -> str:
    """Write a share in percent."""
    return f"{100 * share:.1f}%"


def crowded(names: Sequence[str]) -> bool:
    """Tell whether names side by side, broken at their spaces, are too much for the head of a table."""
    return len(names) * max((len(word) for name in names for word in shown(name).split()), default=0) > _LETTERS_OF_HEAD


def shortened(value: Any, *, end: bool = False) -> str:
    """Write a name as it fits beside a chart: its beginning, or its ``end``, which tells paths apart."""
    text = shown(value)
    if len(text) <= LONGEST_NAME:
        return text
    return f"…{text[1 - LONGEST_NAME :]}" if end else f"{text[: LONGEST_NAME - 1]}…"


def shown(value: Any) -> str:
    """Write a name as it may stand on a page: what steers a text's direction or can't be seen is escaped as in JSON."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
