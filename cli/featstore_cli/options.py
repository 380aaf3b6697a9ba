"""What several commands share: arguments, and what most of them say on Ctrl-C."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["Choice", "SplitOrAll", "StorePath", "VersionOption", "nothing_changed"]

StorePath = Annotated[Path, typer.Argument(help="The store, a folder or packed.")]
VersionOption = Annotated[
    int | None, typer.Option("--store-version", min=1, help="An earlier version.", show_default="newest")
]


class SplitOrAll(StrEnum):
    """The splits, or all images."""

    train = "train"
    test = "test"
    all = "all"


class Choice(StrEnum):
    """Which of several stores is right."""

    first = "first"
    last = "last"


def nothing_changed(**_: Any) -> str:
    """Say, on Ctrl-C, that all is as it was."""
    return "Nothing was changed."
