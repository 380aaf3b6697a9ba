"""What several commands share: arguments, and what most of them say on Ctrl-C."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Choice",
    "SplitOrAll",
    "StorePath",
    "StoresArgument",
    "VersionOption",
    "given_stores",
    "nothing_changed",
]

StorePath = Annotated[Path, typer.Argument(help="The store, a folder or packed.")]
VersionOption = Annotated[
    int | None, typer.Option("--store-version", min=1, help="An earlier version.", show_default="newest")
]

StoresArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[STORE]...", help="The store; or several, of several encoders.", show_default="embeddings.store"
    ),
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


def given_stores(paths: list[Path] | None, version: int | None = None) -> list[Path]:
    """Return the stores that were named, or the default one.

    Raises
    ------
    typer.BadParameter
        If a version is named and there are several.
    """
    if version is not None and len(paths or []) > 1:
        raise typer.BadParameter("means nothing with several stores", param_hint="--store-version")
    return paths or [Path("embeddings.store")]
