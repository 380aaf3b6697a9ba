"""The examples of docs/exchange.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "exchange.md"


def programs(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_runs(tmp_path):
    (program,) = programs(PAGE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("2 6 ")
    assert "tumour" in done.stdout


def test_it_makes_no_store_that_the_readme_makes():
    """Both run in one folder."""
    ours, theirs = (
        set(re.findall(r"\w+\.store", "".join(programs(page)))) for page in (PAGE, PAGE.parents[1] / "README.md")
    )
    assert ours
    assert theirs
    assert not ours & theirs
