"""What the pages hold: blocks of commands, links, headings, code in sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
FIRST_STEPS = ("README.md", "docs/tutorial.md")
RUNNABLE = ("bash", "console", "python")
NOT_RUN, STARTS_WITH = re.compile(r"<!-- not run: (.+?) -->", re.DOTALL), re.compile(r"<!-- starts with: (.+?) -->")


@dataclass(frozen=True)
class Block:
    """Something that a reader may copy: a fence in one of the languages above, or indented lines."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None  # why it isn't run here

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """List the Markdown pages that readers see, README first."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md", *(ROOT / "docs").rglob("*.md")]
    generated = ROOT / "docs" / "reference"
    return sorted({str(path.relative_to(ROOT)) for path in found if generated not in path.parents}, key=str.lower)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def tokens(page: str) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable("table").parse(text_of(page)))


def blocks(page: str) -> list[Block]:
    """List the blocks to be run, or not: a comment just above one says why not."""
    found, above = [], ""
    for token in tokens(page):
        if token.type in {"fence", "code_block"} and (language := token.info.strip() or token.type) in BLOCKS:
            reason = NOT_RUN.fullmatch(above.strip())
            found.append(Block(page, token.map[0] + 1, BLOCKS[language], token.content, reason and reason[1]))
        above = token.content if token.type == "html_block" else ""
    return found


BLOCKS = {name: name for name in RUNNABLE} | {"code_block": "bash"}


def starts_with(page: str) -> list[str]:
    """List what a page takes for granted, which its first line may say."""
    found = STARTS_WITH.match(text_of(page))
    return found[1].split(", ") if found else []


def inline_code(page: str) -> list[str]:
    return [inner.content for inner in _inline(page) if inner.type == "code_inline"]


def links(page: str) -> list[str]:
    """List where links and pictures point."""
    targets = [inner.attrGet("href") or inner.attrGet("src") for inner in _inline(page)]
    return [str(target) for target in targets if target]


def anchors(page: str) -> set[str]:
    """List a page's anchors as GitHub makes them of headings."""
    found: set[str] = set()
    for token, inline in pairwise(tokens(page)):
        if token.type == "heading_open":
            words = "".join(inner.content for inner in inline.children or [])
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            again = sum(other == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", other) is not None for other in found)
            found.add(f"{slug}-{again}" if again else slug)
    return found


def _inline(page: str) -> list[Token]:
    return [inner for token in tokens(page) for inner in token.children or []]
