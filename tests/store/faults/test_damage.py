"""Files of a store that were flipped, cut, swapped or taken away: an error that names the file, or right numbers."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

KINDS = ["segments", "tables", "versions", "packed"]


@pytest.fixture
def copies(victim, tmp_path):
    """Make as many copies of the store as are asked for; give each copy's path and a file of it, of some kind."""

    def make(kind: str, number: int) -> tuple[Path, Path]:
        folder = tmp_path / f"{kind}-{number}"
        if kind == "packed":
            folder.mkdir()
            path = Path(shutil.copy(victim / "a.h5", folder))
            return path, path
        path = Path(shutil.copytree(victim / "a.store", folder / "a.store"))
        files = sorted((path / kind).iterdir())
        return path, files[number % len(files)]

    return make


def _require_found(told: dict, file: Path, right: str) -> None:
    """Either reading fails and names the file, or it gives the right numbers; `verify` finds it in any case."""
    assert "wrong" not in told, told
    words = (file.name, f"no version {file.stem.lstrip('0')}")
    assert any(name in told.get("error", name) for name in words), told
    assert told.get("content", right) == right, f"{file}: wrong numbers"
    assert not told["ok"], f"{file}: not found"
    words = (file.name, f"version {file.stem.lstrip('0')}")
    assert any(word in name + found for word in words for name, found in told["problems"]), told


def test_flipped_bytes(victim, copies, read_all, tell, long):
    """A byte anywhere: in a segment it is found by reading already, elsewhere by `verify` at the latest."""
    rng, counts, damaged = random.Random(1), Counter(), []
    for kind, count in zip(KINDS, (500, 100, 100, 200) if long else (60, 15, 15, 20), strict=True):
        for number in range(count):
            path, file = copies(kind, number)
            content = bytearray(file.read_bytes())
            place = rng.randrange(len(content))
            content[place] ^= rng.randrange(1, 256)
            file.write_bytes(content)
            damaged.append((kind, path, file, place))
    right = [told["content"] for told in read_all([victim / "a.store", victim / "a.h5"])]
    for (kind, path, file, place), told in zip(damaged, read_all([path for _, path, *_ in damaged]), strict=True):
        counts[f"{kind} {'refused' if 'error' in told else 'right numbers'}"] += 1
        where = f"{file.name}, byte {place}"
        if kind == "versions" and told["ok"]:
            assert told["content"] == right[0], where  # a space between two fields became another one
            continue
        _require_found(told, file, right[path.suffix == ".h5"])
        assert kind not in {"segments", "packed"} or "error" in told, where
    tell(**counts)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_longer_or_empty(victim, copies, read_all, kind):
    right = read_all([victim / ("a.h5" if kind == "packed" else "a.store")])[0]["content"]
    damaged = []
    for number, change in enumerate((0, 1, 100, 4095, 4096, 0.5, -1, -8, "longer", "zeros")):
        for file_number in range(2):
            path, file = copies(kind, 2 * number + file_number)
            content = file.read_bytes()
            changed = {"longer": content + b"\0", "zeros": bytes(len(content))}.get(change)
            cut = int(change * len(content)) if isinstance(change, float) else change
            file.write_bytes(content[:cut] if changed is None else changed)
            damaged.append((path, file))
    for (_, file), told in zip(damaged, read_all([path for path, _ in damaged]), strict=True):
        if file.parent.name == "versions" and told["ok"]:
            assert told["content"] == right
        else:
            _require_found(told, file, right)


@pytest.mark.parametrize("kind", KINDS)
def test_something_else_in_its_place(victim, copies, read_all, tmp_path, kind):
    """Nothing, a folder, a pipe that nobody writes to, a device, a link to nowhere, to itself, or to another file."""
    right = read_all([victim / ("a.h5" if kind == "packed" else "a.store")])[0]["content"]
    other = tmp_path / "other"
    other.write_bytes(b"not of this store")
    replacements = [
        Path.unlink,
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: (file.unlink(), os.mkfifo(file)),
    ]
    for target in (Path("/dev/zero"), Path("/dev/null"), tmp_path / "nowhere", tmp_path, other, None):
        replacements.append(lambda file, target=target: (file.unlink(), file.symlink_to(target or file)))
    damaged = []
    for number, replace in enumerate(replacements):
        path, file = copies(kind, 10 * number + (2 if kind == "versions" else 0))
        replace(file)
        damaged.append((path, file))
    for number, ((_, file), told) in enumerate(zip(damaged, read_all([p for p, _ in damaged]), strict=True)):
        if kind == "versions" and number == 0:
            continue
        _require_found(told, file, right)


def test_a_segment_of_another_store(victim, copies, read_all):
    """Whole and sound, but not the one that the version lists."""
    path, file = copies("segments", 0)
    others = sorted((path / "segments").iterdir())
    shutil.copy(others[1], file)
    told = read_all([path])[0]
    _require_found(told, file, "")


OPENED = """
    import os, sys
    import numpy as np
    from featstore.errors import FeatstoreError
    from featstore.store import open_store

    def shortened(path, to):
        os.truncate(path, to if to >= 0 else os.path.getsize(path) + to)

    def flipped(path):
        with open(path, "r+b") as stream:
            content = stream.read()
            at = content.index(np.array([3, 4, 5], dtype="<f4").tobytes())
            stream.seek(at)
            stream.write(b"\\x01")

    def pipe(path):
        os.unlink(path)
        os.mkfifo(path)

    damage = {
        "empty": lambda path: shortened(path, 0),
        "cut": lambda path: shortened(path, 4200),
        "one byte": lambda path: shortened(path, -1),
        "gone": os.unlink,
        "pipe": pipe,
        "flipped": flipped,
    }
    store = open_store(sys.argv[1])
    assert len(store) == 16
    damage[sys.argv[3]](sys.argv[2])
    for read in (store.embeddings, lambda: store.take([9, 1]), lambda: store.take(range(16))):
        try:
            read()
        except FeatstoreError as error:
            assert sys.argv[2] in str(error), error
        else:
            assert sys.argv[3] in ("one byte", "flipped"), "read what was not there"
"""


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damage", ["empty", "cut", "one byte", "gone", "pipe", "flipped"])
def test_damage_after_the_store_was_opened(copy, damage, packed):
    """What was looked up before must not be believed, and must not end in a bus error."""
    path = copy("opened", packed=packed)
    row = np.arange(3, 6, dtype="<f4").tobytes()
    file = path if packed else next(file for file in (path / "segments").iterdir() if row in file.read_bytes())
    command = [sys.executable, "-c", textwrap.dedent(OPENED), path, file, damage]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
