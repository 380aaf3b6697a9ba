"""Folders in which the pages' blocks run, one for each page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, starts_with

OF_A_CLASS = {"train": 9, "test": 2}  # so many images, where a page doesn't show what comes of the whole sample


@pytest.fixture(scope="session")
def shell(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script as a reader would, with `featstore` and `python` on the path, and no network."""
    programs = tmp_path_factory.mktemp("bin")
    (programs / "featstore").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.docs.shim "$@"\n')
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "cli"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": paths.rstrip(os.pathsep),
        "HF_HUB_OFFLINE": "1",
    }

    def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-euo", "pipefail", "-c", script]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
        return subprocess.run(command, cwd=folder, env=environment, timeout=300, check=False, **both)

    return run


@pytest.fixture(scope="session")
def small(tmp_path_factory, shell) -> Path:
    """Part of the sample, a store of it and a model."""
    folder = tmp_path_factory.mktemp("small")
    for split, count in OF_A_CLASS.items():
        _copy_part(split, count, folder / "data")
    done = shell("featstore extract --encoder stain-texture --repeats 4; featstore fit", folder)
    assert done.returncode == 0, done.stdout
    return folder


def _copy_part(split: str, count: int, data: Path) -> None:
    (data / f"{split}_data").mkdir(parents=True)
    header, *rows = (ROOT / "data" / f"{split}_labels.csv").read_text().splitlines()
    labels = [row.partition(",")[2] for row in rows]
    chosen = [row for at, row in enumerate(rows) if labels[:at].count(labels[at]) < count]
    (data / f"{split}_labels.csv").write_text("\n".join([header, *chosen, ""]))
    for image in (row.partition(",")[0] for row in chosen):
        for name in (image, image.replace("img", "mask")):
            shutil.copy(ROOT / "data" / f"{split}_data" / name, data / f"{split}_data")


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory, small, tiny_dinov2) -> Callable[[str], Path]:
    """Make a page's folder when its first block is run; its blocks share it."""
    made: dict[str, Path] = {}

    def make(page: str) -> Path:
        if page not in made:
            made[page] = tmp_path_factory.mktemp("page")
            needed = starts_with(page) or ["data"]
            for name in needed:
                _put(name, made[page])
        return made[page]

    def _put(name: str, folder: Path) -> None:
        if name == "data":
            shutil.copytree(ROOT / "data", folder / "data")
        elif name == "part of data":
            shutil.copytree(small / "data", folder / "data")
        elif name.endswith(".store"):
            shutil.copytree(small / "embeddings.store", folder / name)
        elif name.endswith(".model"):
            shutil.copy(small / "ensemble.model", folder / name)
        else:
            assert name == "phikon-v2", name
            shutil.copytree(tiny_dinov2, folder / name)

    return make
