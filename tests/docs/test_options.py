"""Commands and options that pages name are there."""

from __future__ import annotations

import pytest

from tests.docs.commands import in_sentences, in_text, options
from tests.docs.markdown import blocks, pages

OTHERS = {"--requeue", "--array", "--gres", "--nthreads", "--nworkers", "--memory-limit"}  # sbatch's and dask's


def calls(page: str) -> list[list[str]]:
    """List what a page calls; `store info|log` are two calls."""
    scripts = [block.text for block in blocks(page) if block.language != "python"]
    found = [*in_sentences(page), *(call for script in scripts for call in in_text(script))]
    return [[*call[:-1], last] for call in found if call for last in call[-1].split("|")]


def problem(call: list[str]) -> str | None:
    """Say what is wrong with a call, or with an option alone."""
    known = options()
    given = [word.split("=")[0] for word in call if word.startswith("--")]
    if call and call[0].startswith("--"):
        return next((f"no option {name}" for name in given if name not in OTHERS.union(*known.values())), None)
    path = " ".join(call[:2]) if call[:1] == ["store"] and len(call) > 1 else " ".join(call[:1])
    if path not in known:
        return f"no command {path}"
    return next((f"{path} has no {name}" for name in given if name not in known[path]), None)


@pytest.mark.parametrize("page", pages())
def test_commands_and_options_are_there(page: str):
    assert [(call, wrong) for call in calls(page) if (wrong := problem(call))] == []


@pytest.mark.parametrize("call", ["fit --fold 3", "fitt", "store inf", "--fold", "store info --jobs 2"])
def test_what_is_not_there_is_found(call):
    assert problem(call.split())
