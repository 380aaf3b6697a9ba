"""The sample, and the script that makes it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def sample() -> Path:
    return Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="session")
def maker(sample: Path) -> Iterator[ModuleType]:
    """Import the script as it runs: with its own folder on the path, and only then."""
    sys.path.insert(0, str(sample))
    yield importlib.import_module("make_sample")
    sys.path.remove(str(sample))
