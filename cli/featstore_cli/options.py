"""What several commands share: arguments, and what most of them say on Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from featstore.dataset import Dataset

__all__ = [
    "Choice",
    "SplitOrAll",
    "StorePath",
    "StoresArgument",
    "VersionOption",
    "check_folder",
    "check_outputs",
    "check_page",
    "check_pictures",
    "given_stores",
    "nothing_changed",
    "nothing_written",
]

StorePath = Annotated[Path, typer.Argument(help="The store, a folder or packed.")]
VersionOption = Annotated[
    int | None, typer.Option("--store-version", min=1, help="An earlier version.", show_default="newest")
]

StoresArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="STORE", help="The store; or several, of several encoders.", show_default="embeddings.store"
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


def nothing_written(**_: Any) -> str:
    """Say, on Ctrl-C, that there is no result yet."""
    return "Nothing was written. Run the same command again."


def given_stores(paths: list[Path] | None, version: int | None = None) -> list[Path]:
    """Return the stores that were named, or the default one.

    Raises
    ------
    typer.BadParameter
        If a version is named and there are several.
    """
    if version is not None and len(paths or []) > 1:
        raise typer.BadParameter("means nothing with several stores", param_hint="--store-version")
    if paths and len({path.resolve() for path in paths}) < len(paths):
        raise typer.BadParameter("a store is named twice", param_hint="STORE")
    return paths or [Path("embeddings.store")]


def check_outputs(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None], *, as_json: bool = False) -> None:
    """Refuse, before any work, files that can't be written, are named twice, or would take the place of an input.

    Parameters
    ----------
    outputs : mapping from the option to its file
    inputs : iterable of Path
        Files, and folders within which nothing is to be written.
    as_json : bool
        Whether stdout is taken by the one JSON object.

    Raises
    ------
    StoreWriteError
        If a file can't be written.
    typer.BadParameter
        If it is an input, or is named twice, or is stdout, which is taken.
    """
    from featstore.store.disk.files import check_target

    taken = [path.resolve() for path in inputs if path is not None]
    for option, path in outputs.items():
        if path is None:
            continue
        check_target(path)
        if as_json and _is_stdout(path):
            raise typer.BadParameter(f"{path} is stdout, where --json prints nothing else", param_hint=option)
        _refuse_within(taken, path, option)
        taken.append(path.resolve())


def check_pictures(
    option: str, folder: Path, names: Iterable[str], inputs: Iterable[Path | None], data: Dataset | None = None
) -> None:
    """Refuse, before any work, a folder that these pictures can't be drawn in, or one with other files of their names.

    Raises
    ------
    StoreWriteError, typer.BadParameter
        As `check_folder` does; if it lies in a folder of the data; and if a file is in the way that featstore did not
        draw.
    """
    from featstore.drawn import is_drawn

    names = list(names)
    for place in data.folders if data else ():
        below = folder.resolve().is_relative_to(place.resolve())
        if folder.resolve() == place.resolve() or (below and data is not None and data.layout != "csv"):
            found = f"{folder} lies in {place}, where the data are, and what is drawn there may be taken for them"
            raise typer.BadParameter(f"{found}: name a folder elsewhere", param_hint=option)
    check_folder(option, folder, names, inputs)
    for path in (folder / name for name in names):
        if path.is_file() and not is_drawn(path):
            raise typer.BadParameter(
                f"{path} is there, and no picture of featstore's: name another folder", param_hint=option
            )


def check_page(option: str, path: Path, inputs: Iterable[Path | None], *, as_json: bool = False) -> None:
    """Refuse, before any work, a page that can't be written, or would take the place of another file.

    Raises
    ------
    StoreWriteError, typer.BadParameter
        As `check_outputs` does; and if a file is in the way that is neither empty nor a page of featstore's.
    """
    from featstore.drawn import is_page

    check_outputs({option: path}, inputs, as_json=as_json)
    if path.is_file() and path.stat().st_size and not is_page(path):
        raise typer.BadParameter(f"{path} is there, and no page of featstore's: name another file", param_hint=option)


def check_folder(option: str, folder: Path, names: Iterable[str], inputs: Iterable[Path | None]) -> None:
    """Refuse, before any work, a folder that these files can't be written to; it is made, if need be, after the work.

    Raises
    ------
    StoreWriteError
        If the folder can't be made, or a file in it can't be written.
    typer.BadParameter
        If it lies in an input, or a file is one.
    """
    from featstore.errors import StoreWriteError
    from featstore.store.disk.files import check_target

    given = [path for path in inputs if path is not None]
    _refuse_within([path.resolve() for path in given], folder, option)
    if folder.is_dir():
        for name in names:
            check_outputs({option: folder / name}, given)
        return
    first = folder.absolute()  # of the folders to be made
    while not first.parent.exists():
        first = first.parent
    if first.exists():
        raise StoreWriteError(f"{folder}: no folder", expected="a folder, or the name of a new one")
    check_target(first)


def _refuse_within(taken: Iterable[Path], path: Path, option: str) -> None:
    if any(path.resolve().is_relative_to(other) for other in taken):
        raise typer.BadParameter(f"{path} is, or lies in, what this command reads or writes", param_hint=option)


def _is_stdout(path: Path) -> bool:
    try:
        found = path.stat()
        return os.path.samestat(found, os.fstat(1)) and not os.path.samestat(found, Path(os.devnull).stat())
    except OSError:  # nothing there yet, or no stdout
        return False
