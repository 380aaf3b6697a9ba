"""Links between pages, with their anchors, lead somewhere."""

from __future__ import annotations

import re

import pytest

from tests.docs.markdown import ROOT, anchors, links, pages


def problem(page: str, target: str) -> str | None:
    """Say what is wrong with a link."""
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    if not file.exists():
        return f"{target}: nothing there"
    if anchor and anchor not in anchors(str(file.resolve().relative_to(ROOT))):
        return f"{target}: no such heading"
    return None


@pytest.mark.parametrize("page", pages())
def test_relative_links_resolve(page: str):
    relative = [target for target in links(page) if not re.match(r"[a-z]+:", target)]
    assert [wrong for target in relative if (wrong := problem(page, target))] == []


@pytest.mark.parametrize("target", ["docs/nothing.md", "docs/format.md#nothing", "#nothing"])
def test_what_is_not_there_is_found(target):
    assert problem("README.md", target)
