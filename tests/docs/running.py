"""Running a block, and holding what came out against what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tests.docs.markdown import ROOT, Block, blocks

Shell = Callable[[str, Path], subprocess.CompletedProcess[str]]
REWRITE = "FEATSTORE_REWRITE_SHOWN"
"""The variable that has outputs in the pages rewritten where they differ."""

# A fingerprint, or a number with its sign.
NUMBER = re.compile(r"\b[0-9a-f]{12}\b|[-+]?\b\d[\d,]*(\.\d+)?\b")
# What another machine, or another moment, changes: scores and shares, seconds and sizes, dates; and versions,
# of which a slow machine makes one more each 30 seconds.
VARYING = re.compile(r"(?<=\bversion )\d+|\d{4}-\d\d-\d\d\S*|[-+]?\b\d[\d,]*\.\d+\b|\b\d[\d,]*(?= (?:s|kB|MB|GB)\b)")
# Commands that the shim leaves as they are, and that don't ask a model which it has changed.
EXACT = ("extract", "check", "preview", "store")


def to_run(pages: Iterable[str]) -> list[Block]:
    """List what is to be run of these pages, in order."""
    return [block for page in pages for block in blocks(page) if block.reason is None]


def run(block: Block, folder: Path, shell: Shell) -> None:
    """Run a block; fail where a command does, or says something else than the page shows."""
    if block.language == "python":
        return _check(shell(f"python -c {shlex.quote(block.text)}", folder))
    if block.language == "bash":
        return _check(shell(block.text, folder))
    for command, shown in _commands(block.text):
        said, exact = _check(shell(command, folder)), is_exact(command)
        if os.environ.get(REWRITE) and exact and not matches(shown, said, exact=True):
            _rewrite(block.page, shown, renewed(shown, said))
            continue
        assert matches(shown, said, exact=exact), f"{block}: {command}\n--- shown\n{shown}\n--- said\n{said}"
    return None


def is_exact(command: str) -> bool:
    """Tell whether a command says the same here as for a reader: fingerprints and counts are compared as well."""
    words = command.split()
    return words[:1] == ["featstore"] and words[1] in EXACT


def matches(shown: str, said: str, *, exact: bool = False) -> bool:
    """Tell whether the lines shown are those said, up to what `...` stands for and to numbers, or what varies."""
    pattern = ""
    for line in _plain(shown, exact=exact):
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += re.escape(line.removesuffix("...").rstrip()) + (".*" if line.endswith("...") else "") + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _plain(said, exact=exact))) is not None


def renewed(shown: str, said: str) -> str:
    """Put the numbers that were said into the lines shown; those that vary anyway stay.

    Raises
    ------
    AssertionError
        If the lines differ in more than numbers: that is for a person to look at.
    """
    assert matches(shown, said), f"other lines\n--- shown\n{shown}\n--- said\n{said}"
    left, lines = iter(said.splitlines()), []
    for line in shown.splitlines():
        if line.strip() in ("", "..."):
            lines.append(line)
            continue
        other = next((each for each in left if matches(line, each)), None)
        assert other is not None, f"in another order: {line}"
        lines.append(_with_numbers(line, other))
    return "".join(f"{line}\n" for line in lines)


def _with_numbers(line: str, other: str) -> str:
    found = iter([each[0] for each in NUMBER.finditer(other)])
    vary = [each.span() for each in VARYING.finditer(line)]

    def number(old: re.Match[str]) -> str:
        new = next(found)
        return old[0] if any(start <= old.start() < stop for start, stop in vary) else new

    return NUMBER.sub(number, line)


def _rewrite(page: str, shown: str, renewed: str) -> None:
    path = ROOT / page
    path.write_text(path.read_text("utf-8").replace(shown, renewed, 1), "utf-8")


def _plain(text: str, *, exact: bool) -> list[str]:
    """Bring lines to what is compared; counts, which come the largest first, to the order of their names."""
    varying = VARYING if exact else NUMBER
    lines = [re.sub(r"\s+", " ", varying.sub("#", line)).strip() for line in text.splitlines()]
    together = groupby(filter(None, lines), key=lambda line: line.endswith(": #"))
    return [line for are_counts, group in together for line in (sorted(group) if are_counts else group)]


def _commands(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def _check(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"exit {done.returncode}\n{done.args[-1]}\n{done.stdout}"
    return done.stdout
