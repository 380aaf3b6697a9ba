"""Running a block, and holding what came out against what the page shows."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tests.docs.markdown import Block, blocks

Shell = Callable[[str, Path], subprocess.CompletedProcess[str]]
# A fingerprint, or a number with its sign.
NUMBER = re.compile(r"\b[0-9a-f]{12}\b|[-+]?\b\d[\d,]*(\.\d+)?\b")


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
        said = _check(shell(command, folder))
        assert matches(shown, said), f"{block}: {command}\n--- shown\n{shown}\n--- said\n{said}"
    return None


def matches(shown: str, said: str) -> bool:
    """Tell whether the lines shown are those said, up to numbers and to what `...` stands for."""
    pattern = ""
    for line in _plain(shown):
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += re.escape(line.removesuffix("...").rstrip()) + (".*" if line.endswith("...") else "") + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _plain(said))) is not None


def _plain(text: str) -> list[str]:
    """Bring lines to what is compared; counts, which come the largest first, to the order of their names."""
    lines = [re.sub(r"\s+", " ", NUMBER.sub("#", line)).strip() for line in text.splitlines()]
    together = groupby(filter(None, lines), key=lambda line: line.endswith(": #"))
    return [line for are_counts, group in together for line in (sorted(group) if are_counts else group)]


def _commands(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def _check(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"exit {done.returncode}\n{done.args[-1]}\n{done.stdout}"
    return done.stdout
