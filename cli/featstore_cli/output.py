"""What every command shares: results on stdout, everything else on stderr, and plain messages for errors."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from featstore.errors import FeatstoreError

if TYPE_CHECKING:
    from featstore.store import NameMatch

__all__ = [
    "JsonFlag",
    "counted",
    "is_terminal",
    "note",
    "plain_errors",
    "print_json",
    "print_lines",
    "sized",
    "unusable",
    "warn",
    "warn_of_names",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]

P = ParamSpec("P")
R = TypeVar("R")

_warned: set[str] = set()


def print_json(value: dict[str, Any]) -> None:
    """Print a result as one JSON object."""
    lines = json.dumps(value, indent=2, ensure_ascii=False, default=_plain).split("\n")
    typer.echo("\n".join(map(_tame, lines)))


def print_lines(lines: Iterable[str]) -> None:
    """Print a result for people, a line each."""
    for line in lines:
        typer.echo(_tame(line))


def note(text: str) -> None:
    """Tell something on stderr, in one line."""
    typer.echo(_tame(text), err=True)


def warn(text: str) -> None:
    """Warn on stderr, of one thing once in a command."""
    if text not in _warned:
        _warned.add(text)
        note(f"Warning: {text}")


def counted(count: int, word: str) -> str:
    """Write ``1 image`` or ``2 images``."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def sized(count: int) -> str:
    """Write a number of bytes."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def unusable(rows: Iterable[Mapping[str, str]]) -> str:
    """Count the images that can't be used, and say why; those that are contaminated are left out on purpose."""
    bad = [row["reason"] for row in rows if not row["reason"].startswith("contaminated_")]
    return f"{counted(len(bad), 'image')} ({', '.join(sorted(set(bad)))})" if bad else ""


def warn_of_names(match: NameMatch, store: Path) -> None:
    """Warn of names of a CSV that mean no image, or a training and a test image alike."""
    if match.unknown:
        warn(f"{counted(len(match.unknown), 'name')} not in {store}: {_first(match.unknown)}")
    if match.shared:
        names = f"{counted(len(match.shared), 'name')} ({_first(match.shared)})"
        key = match.keys[match.shared[0]]
        meant = "could mean a training or a test image: taken for training images, as in a challenge's train_labels.csv"
        warn(f"{names} {meant}; writing {key} settles it")


def _first(names: list[str]) -> str:
    return ", ".join([*names[:5], "..."] if len(names) > 5 else names)


def plain_errors(interrupted: Callable[..., str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """End a command with one message instead of a traceback: exit 1 on an error, 130 on Ctrl-C.

    Parameters
    ----------
    interrupted : callable
        Takes the command's arguments and says what is safely stored and how to go on.
    """

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            _warned.clear()
            try:
                return command(*args, **kwargs)
            except KeyboardInterrupt:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
                note("")  # the terminal has shown ^C
                note(f"Interrupted. {interrupted(**kwargs)}")
                raise typer.Exit(130) from None
            except typer.BadParameter as error:
                error.message = _tame(error.message)  # click prints it, and it may quote a file
                raise
            except (typer.Exit, BrokenPipeError):
                raise
            except FeatstoreError as error:
                note(f"Error: {error}")
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                note(f"Error: {where}{error.strerror or error}. Mend that and run the same command again.")
            except Exception as error:
                if os.environ.get("FEATSTORE_DEBUG"):
                    raise
                found = f"{type(error).__name__}: {error}".splitlines()[0]
                note(f"Error: {found}. This is a fault of featstore; FEATSTORE_DEBUG=1 shows where it is.")
            raise typer.Exit(1)

        return run

    return decorate


def is_terminal() -> bool:
    """Tell whether stderr is a terminal: elsewhere there is no progress bar."""
    return sys.stderr.isatty()


def _tame(line: str) -> str:
    """Escape, as JSON does, what would steer a terminal: names and labels may come from anybody."""
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _plain(value: Any) -> Any:
    """Turn paths and numpy numbers into JSON's own types."""
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value.tolist()
