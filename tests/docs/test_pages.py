"""The other pages do what they say: each block is run, in the order of its page, or the page says why not."""

from __future__ import annotations

import pytest

from tests.docs.markdown import FIRST_STEPS, Block, blocks, pages, text_of
from tests.docs.running import matches, run, to_run


@pytest.mark.parametrize("block", to_run(page for page in pages() if page not in FIRST_STEPS), ids=str)
def test_it_runs(block: Block, folder_of, shell):
    run(block, folder_of(block.page), shell)


@pytest.mark.parametrize("page", pages())
def test_reasons_stand_above_what_is_not_run(page: str):
    given = [block.reason for block in blocks(page) if block.reason]
    assert len(given) == text_of(page).count("<!-- not run")
    assert all(len(reason.split()) > 1 for reason in given)


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ("fold 0.476\n", "fold   0.9\n", True),
        ("store: fingerprint 16f78d25eb9d\n", "store: fingerprint aaaad25eb9d0\n", True),
        ("one\n...\nlast\n", "one\ntwo\nthree\nlast\n", True),
        ("one, ...\n", "one, and more\n", True),
        ("A: 3\nB: 2\n", "B: 4\nA: 1\n", True),
        ("one\n", "one\ntwo\n", False),
        ("one 3 images\n", "one 3 blobs\n", False),
    ],
)
def test_output_is_compared_up_to_numbers(shown, said, same):
    assert matches(shown, said) is same
