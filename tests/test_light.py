"""Light stays light: what the everyday commands load, seen from outside in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "transformers", "cv2")
PROBE = "import sys; {what}; print([name for name in {heavy} if name in sys.modules])"


def _heavy(what: str, heavy: tuple[str, ...] = HEAVY) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(what=what, heavy=heavy)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "module",
    [
        "featstore",
        "featstore.store",
        "featstore.toolkit",
        "featstore.evaluate",
        "featstore.report",
        "featstore.cnn",
        "featstore_cli.app",
    ],
)
def test_importing_loads_nothing_heavy(module):
    assert _heavy(f"import {module}") == "[]"


def test_explanations_load_no_networks_and_no_pictures_until_they_are_asked_for():
    """OpenCV comes with the crops, as in an extraction."""
    assert _heavy("import featstore.explain", ("torch", "transformers", "captum", "matplotlib")) == "[]"


def test_a_cluster_costs_nothing_until_it_is_asked_for():
    assert _heavy("import featstore.cluster", ("dask", "distributed", "joblib", "numpy", *HEAVY)) == "[]"


def test_the_top_level_and_the_command_line_load_no_numbers_either():
    numbers = ("numpy", "h5py", "sklearn", "xgboost", *HEAVY)
    assert _heavy("import featstore", numbers) == "[]"
    assert _heavy("import featstore_cli.app", numbers) == "[]"


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in ("extract", "explain", "report", "store")), ["--version"]]
)
def test_help_loads_no_numbers(arguments):
    what = f"import featstore_cli.app as a\ntry:\n    a.app({arguments})\nexcept SystemExit: pass"
    numbers = ("numpy", "h5py", "sklearn", "xgboost", *HEAVY)
    assert _heavy(f"exec({what!r})", numbers) == "[]"


def test_the_probe_can_fail():
    assert _heavy("import cv2") == "['cv2']"


@pytest.mark.parametrize(
    "module",
    [
        "featstore",
        "featstore.cluster",
        "featstore.dataset",
        "featstore.crops",
        "featstore.encoders",
        "featstore.extract",
        "featstore.store",
        "featstore.toolkit",
        "featstore.evaluate",
        "featstore.explain",
        "featstore.report",
    ],
)
def test_what_a_room_exports_is_there(module):
    """``__all__`` is explicit, sorted, complete and true."""
    import importlib

    room = importlib.import_module(module)
    assert sorted(room.__all__) == sorted(set(room.__all__))
    assert all(getattr(room, name) is not None for name in room.__all__)
    public = {
        name
        for name in vars(room)
        if not name.startswith("_") and getattr(vars(room)[name], "__module__", "").startswith(module + ".")
    }
    assert public <= set(room.__all__)
