"""Can this machine write a store and read it back? A part of ``featstore doctor --selftest``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from featstore.errors import FeatstoreError
from featstore.store.create import create_store
from featstore.store.reader import open_store
from featstore.store.upkeep.verify import verify

__all__ = ["check_store"]

DIM = 16
IMAGES = ("a.png", "b.png")


def check_store() -> dict[str, Any]:
    """Write a small store in a temporary folder, one version an image; verify it, and read every number back.

    Returns
    -------
    dict
        ``check``, ``ok``, ``detail``.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="featstore-") as folder:
            problems = _rehearse(Path(folder) / "selftest.store")
    except Exception as error:  # noqa: BLE001 - whatever breaks is what a self-test is to tell
        kind = "" if isinstance(error, FeatstoreError) else f"{type(error).__name__}: "
        problems = [f"{kind}{error}"]
    detail = "; ".join(problems) or f"{len(IMAGES)} versions written, verified and read in a temporary folder"
    return {"check": "store", "ok": not problems, "detail": detail}


def _rehearse(path: Path) -> list[str]:
    embeddings = np.linspace(-1, 1, 4 * DIM, dtype=np.float32).reshape(4, DIM)
    for image, two in zip(IMAGES, (embeddings[:2], embeddings[2:]), strict=True):
        with create_store(path, {"encoder": "selftest"}, DIM, operation="selftest") as writer:
            writer.add(image, blobs=[0, 0], repeats=[0, 1], embeddings=two)
    problems = [f"{problem.file}: {problem.found}" for problem in verify(path).problems]
    if not problems and not np.array_equal(open_store(path).embeddings(), embeddings):
        problems.append("a store in a temporary folder gives other numbers than were written")
    return problems
