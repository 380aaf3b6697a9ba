"""Arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Choice", "SplitOrAll", "StorePath", "VersionOption"]

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
