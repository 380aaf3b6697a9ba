"""How long the fault tests run, where their counts go, and the tools to damage, forge and read stores."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xxhash import xxh3_64

from featstore.recipe import canonical_json
from featstore.store import Store, create_store, open_store, pack, relabel, verify
from featstore.store.labels import NewLabel

RECIPE, DIM = {"encoder": {"name": "made-up"}, "seed": 0}, 6


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether to run the long form: ``FAULTS=long`` asks for it."""
    return os.environ.get("FAULTS") == "long"


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print what a fault test counted: a fault test that hit nothing would pass as well."""

    def say(**counts: Any) -> None:
        with capsys.disabled():
            print("\n  " + ", ".join(f"{name} {value}" for name, value in counts.items()))

    return say


@pytest.fixture(scope="session")
def sound() -> Callable[[Path], Store]:
    """Open a store that must be without a flaw: verified, versions without a gap, each key once."""

    def check(path: Path) -> Store:
        found = verify(path)
        assert found.ok, found.problems
        store = open_store(path)
        assert sorted(int(file.stem) for file in (path / "versions").glob("*.json")) == [*range(1, store.version + 1)]
        assert len(np.unique(store.keys)) == len(store.keys)
        return store

    return check


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three versions: two of two segments and one of labels; beside it the same, packed. Copy before use."""
    folder = tmp_path_factory.mktemp("victim")
    for number in range(2):
        with create_store(folder / "a.store", RECIPE, DIM) as writer:
            for image in (2 * number, 2 * number + 1):
                rows = np.arange(4 * DIM).reshape(4, DIM) + 100 * image
                boxes = [[0, 50, 1, 2, 9, 8], [1, 40, 3, 4, 8, 7]]
                writer.add(f"img_{image}.png", [0, 0, 1, 1], [0, 1, 0, 1], rows, label="AB"[image % 2], boxes=boxes)
    relabel(folder / "a.store", [NewLabel("img_0.png", label="C", group="patient 7")])
    pack(open_store(folder / "a.store"), folder / "a.h5")
    return folder


@pytest.fixture
def copy(victim: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make a copy of the store, or of the packed store, in a folder of that name."""

    def make(name: str, *, packed: bool = False) -> Path:
        (tmp_path / name).mkdir()
        if packed:
            return Path(shutil.copy(victim / "a.h5", tmp_path / name))
        return Path(shutil.copytree(victim / "a.store", tmp_path / name / "a.store"))

    return make


@pytest.fixture(scope="session")
def read_all() -> Callable[[Sequence[Path]], list[dict[str, Any]]]:
    """Read stores in a process of its own; a crash or a hang of it fails the test."""
    script = Path(__file__).with_name("reader.py")

    def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
        lines = "".join(f"{path}\n" for path in paths)
        done = subprocess.run(
            [sys.executable, script], input=lines, capture_output=True, text=True, timeout=300, check=False
        )
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, f"{paths[len(told)]}: crashed: {done.returncode} {done.stderr}"
        assert len(told) == len(paths)
        return told

    return read


@dataclass
class Opened:
    """A container taken apart: its directory, and its bytes (the user block among them)."""

    directory: dict[str, Any]
    content: bytearray
    user_block: int

    def span(self, name: str) -> slice:
        """Where a dataset stands."""
        kind, shape, offset = self.directory["datasets"][name]
        return slice(offset, offset + int(np.prod(shape)) * np.dtype(kind).itemsize)

    def dataset(self, name: str) -> np.ndarray:
        """Look at a dataset; writing to it writes to the content."""
        kind, shape, _ = self.directory["datasets"][name]
        return np.frombuffer(memoryview(self.content)[self.span(name)], dtype=kind).reshape(shape)


class Forge:
    """Change files of a store and make every checksum right again, as somebody would who means harm."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.newest = max((store / "versions").glob("*.json")) if store.is_dir() else store

    def version(self, edit: Callable[[dict[str, Any]], Any]) -> None:
        """Edit the body of the newest version."""
        body = json.loads(self.newest.read_text())["body"]
        edit(body)
        digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
        self.newest.write_text(json.dumps({"format": 1, "sha256": digest, "body": body}, ensure_ascii=False))

    def table(self, edit: Callable[[Opened], Any], number: int = 0) -> Path:
        """Edit a table of the newest version."""
        entry = json.loads(self.newest.read_text())["body"]["tables"][number]
        path, digest, size = self.container(self.store / "tables" / f"{entry['sha256'][:32]}.h5", edit)
        self.version(lambda body: body["tables"][number].update(sha256=digest, bytes=size))
        return path

    def segment(self, edit: Callable[[Opened], Any], number: int = 0) -> Path:
        """Edit a segment that the first table of the newest version lists."""
        entry = json.loads(self.newest.read_text())["body"]["tables"][0]
        table = opened(self.store / "tables" / f"{entry['sha256'][:32]}.h5")
        listed = table.dataset("segments/sha256")[number].decode()
        path, digest, size = self.container(self.store / "segments" / f"{listed[:32]}.h5", edit)

        def relist(table: Opened) -> None:
            table.dataset("segments/sha256")[number] = digest.encode()
            table.dataset("segments/bytes")[number] = size

        self.table(relist)
        return path

    def packed(self, edit: Callable[[Opened], Any]) -> Path:
        """Edit a packed store."""
        content = self.container(self.store, edit)[0].read_bytes()
        self.store.write_bytes(content)
        return self.store

    def container(self, path: Path, edit: Callable[[Opened], Any]) -> tuple[Path, str, int]:
        """Edit a container; it gets the name that follows from its new content."""
        taken = opened(path)
        edit(taken)
        directory, content = taken.directory, taken.content
        try:
            hole = taken.span("embeddings")
            rest = xxh3_64(content[taken.user_block : hole.start])
            rest.update(content[hole.stop :])
        except (LookupError, TypeError, ValueError, OverflowError):
            rest = xxh3_64(content[taken.user_block :])
        if isinstance(directory, dict):
            directory = {"rest": rest.hexdigest(), **{k: v for k, v in directory.items() if k != "rest"}}
        text = json.dumps(directory, ensure_ascii=False).encode()
        digest = hashlib.sha256(text).hexdigest()
        block = f"featstore 1 {digest} {len(text)} {taken.user_block}\n".encode() + text
        content[: taken.user_block] = block.ljust(taken.user_block, b"\0")
        target = path.with_name(f"{digest[:32]}.h5")
        target.write_bytes(content)
        return target, digest, len(content)


def opened(path: Path) -> Opened:
    """Take a container apart."""
    content = bytearray(path.read_bytes())
    line, _, rest = bytes(content).partition(b"\n")
    length, user_block = map(int, line.split()[3:])
    return Opened(json.loads(rest[:length]), content, user_block)


@pytest.fixture(scope="session")
def forge() -> type[Forge]:
    return Forge
