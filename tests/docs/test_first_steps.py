"""README and tutorial do what they say, on the whole sample."""

from __future__ import annotations

import pytest

from tests.docs.markdown import FIRST_STEPS, Block
from tests.docs.running import run, to_run


@pytest.mark.parametrize("block", to_run(FIRST_STEPS), ids=str)
def test_it_runs(block: Block, folder_of, shell):
    run(block, folder_of(block.page), shell)
