"""The other pages do what they say: each block is run, in the order of its page, or the page says why not."""

from __future__ import annotations

import pytest

from tests.docs.markdown import FIRST_STEPS, Block, blocks, pages, text_of
from tests.docs.running import is_exact, matches, renewed, run, to_run


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


@pytest.mark.parametrize(
    ("shown", "said", "same"),
    [
        ("109 images in 8.4 s\n", "109 images in 50 s\n", True),
        ("46.0% green, 2.6 MB, 3 kB\n", "46.1% green, 2.7 MB, 4 kB\n", True),
        ("4 2026-11-26T18:39:55+00:00 label\n", "4 2027-01-02T00:00:01+00:00 label\n", True),
        ("store: fingerprint 16f78d25eb9d\n", "store: fingerprint aaaad25eb9d0\n", False),
        ("one 3 images\n", "one 4 images\n", False),
        ("A: 3\n", "A: 4\n", False),
    ],
)
def test_where_the_shim_changes_nothing_counts_and_fingerprints_are_compared(shown, said, same):
    assert matches(shown, said, exact=True) is same


def test_which_commands_are_compared_exactly():
    assert is_exact("featstore extract data --store a.store")
    assert is_exact("featstore store info")
    assert not any(
        map(is_exact, ("featstore fit", "featstore predict", "head -2 predictions.csv", "featstore evaluate"))
    )


def test_outputs_are_rewritten_line_by_line():
    shown = "s: version 1, fingerprint 16f78d25eb9d\n...\n  7 images,  8.4 s, ...\n"
    said = "s: version 2, fingerprint aaaad25eb9d0\n  more\n  12 images, 50.1 s, 3 left\n"
    assert renewed(shown, said) == "s: version 1, fingerprint aaaad25eb9d0\n...\n  12 images,  8.4 s, ...\n"
    with pytest.raises(AssertionError, match="other lines"):
        renewed("one\n", "two\n")
