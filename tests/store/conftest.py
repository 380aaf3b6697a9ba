"""Small stores for the tests of the room."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featstore.store import Store, create_store, open_store

DIM = 6
RECIPE = {"encoder": {"name": "made-up", "dim": DIM}, "seed": 0}


def vector(image: int, blob: int, repeat: int) -> np.ndarray:
    """The embedding of a key: a pure function of it, so that any row can be checked."""
    return np.arange(DIM, dtype=np.float32) + np.float32(100 * image + 10 * blob + repeat)


def add_image(writer, number: int, blobs: int = 2, repeats: tuple[int, ...] = (0, 1), **facts) -> None:
    keys = [(b, r) for b in range(blobs) for r in repeats]
    writer.add(
        image=f"img_{number:04d}.png",
        blobs=[b for b, _ in keys],
        repeats=[r for _, r in keys],
        embeddings=np.stack([vector(number, b, r) for b, r in keys]),
        **facts,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path within it."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def flip(file: Path, at: int) -> None:
    """Flip one bit of a file; ``at`` counts from the end where it is below 0."""
    with file.open("r+b") as stream:
        stream.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))


def said_by(path: Path, version: int | None = None) -> tuple:
    """All that a version of a store says, in plain types that compare; the numbers bit for bit."""
    store = open_store(path, version)
    images = {name: store.images[name] for name in store.images}
    return store.keys.tolist(), store.embeddings().tobytes(), store.blobs.tolist(), images, store.repeats


def append(path: Path, image: str, value: float, **said) -> None:
    """Commit two blobs of an image, all their numbers the same."""
    with create_store(path, RECIPE, DIM) as writer:
        writer.add(image, [0, 1], [0, 0], np.full((2, DIM), value), **said)


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Store]:
    def make(images: int = 6, path: Path | None = None, **keywords) -> Store:
        path = path or tmp_path / "some.store"
        with create_store(path, RECIPE, DIM, **keywords) as writer:
            for number in range(images):
                add_image(writer, number, label="AB"[number % 2])
        return open_store(path)

    return make


@pytest.fixture(scope="session")
def helpers():
    class Helpers:
        dim, recipe = DIM, RECIPE
        add_image = staticmethod(add_image)
        vector = staticmethod(vector)
        contents = staticmethod(contents)
        flip = staticmethod(flip)
        said_by = staticmethod(said_by)
        append = staticmethod(append)

    return Helpers


@pytest.fixture
def measured() -> Callable[..., tuple]:
    """Call something, and tell how many bytes Python and numpy held at once meanwhile."""

    def call(what: Callable[[], object]) -> tuple:
        tracemalloc.start()
        try:
            return what(), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return call


@pytest.fixture
def many(tmp_path: Path) -> Callable[[int], Path]:
    """Make a store of so many segments, each with an image of its own."""

    def make(count: int) -> Path:
        for number in range(count):
            append(tmp_path / "many.store", f"{number:03d}", number)
        return tmp_path / "many.store"

    return make
