"""The commands that pages name, beside those that there are."""

from __future__ import annotations

import re
import shlex
from functools import cache

from typer.main import get_command

from featstore_cli.app import app
from tests.docs.markdown import inline_code


@cache
def options() -> dict[str, set[str]]:
    """List the options of each command, by its path: ``store info``."""
    found: dict[str, set[str]] = {}

    def walk(path: tuple[str, ...], command: object) -> None:
        params = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        found[" ".join(path)] = {"--help", "-h", *(name for name in params if name.startswith("-"))}
        for name, inner in getattr(command, "commands", {}).items():
            walk((*path, name), inner)

    walk((), get_command(app))
    return found


def in_text(text: str) -> list[list[str]]:
    """Find the calls of featstore in a script, as words."""
    joined = re.sub(r"\\\n", " ", text)
    calls = re.findall(r"(?:^|[\s;&|(`])featstore((?: [^\n;&|#`]*)?)", joined)
    return [shlex.split(re.sub(r"\$\(|\)|'s?(?= )", " ", call)) for call in calls]


def in_sentences(page: str) -> list[list[str]]:
    """Find the calls, or options alone, in a page's inline code."""
    found = []
    for code in inline_code(page):
        words = code.split()
        if words[:1] == ["featstore"]:
            found.append(words[1:])
        elif words and (words[0].startswith("--") or words[0] in options()):
            found.append(words)
    return found
