"""Kill a process before each single thing that it does to the file system; run by the test, in a process of its own.

``python crash_points.py FOLDER OPERATION`` prints how many kills there were. Forked children do the work: what they
have loaded already costs nothing, and the kill is a real one.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from featstore.store import NewLabel, Store, create_store, merge, open_store, pack, relabel, vacuum, verify

RECIPE, DIM = {"encoder": "made-up"}, 4
STEPS = frozenset({"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"})

Content = tuple[bytes, bytes, tuple[str, ...]]


def add(path: Path, first: int, images: int = 2) -> None:
    """Add images that are not there yet, two blobs each."""
    with create_store(path, RECIPE, DIM) as writer:
        for number in range(first, first + images):
            if not writer.stored(str(number), ("", "")):
                writer.add(str(number), [0, 1], [0, 0], np.full((2, DIM), number), boxes=[[0, 9, 0, 0, 3, 3]])


def content(store: Store) -> Content:
    """Everything that a reader sees."""
    return store.keys.tobytes(), store.embeddings().tobytes(), tuple(row.label for row in store.images.values())


def packed(folder: Path) -> None:
    """Pack a store, unless that is done."""
    if not (folder / "a.h5").exists():
        pack(open_store(folder / "a.store"), folder / "a.h5")


def merged(folder: Path) -> None:
    """Merge two stores, unless that is done."""
    if not (folder / "m.store" / "versions" / "00000001.json").exists():
        merge([folder / "a.store", folder / "b.store"], folder / "m.store")


OPERATIONS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "create": ("new.store", lambda folder: add(folder / "new.store", 0)),
    "append": ("a.store", lambda folder: add(folder / "a.store", 10)),
    "relabel": ("a.store", lambda folder: relabel(folder / "a.store", [NewLabel("0", label="A")])),
    "compact": ("a.store", lambda folder: vacuum(folder / "a.store", apply=True, grace_s=0.0, compact=True)),
    "pack": ("a.h5", packed),
    "merge": ("m.store", merged),
}


def main(folder: Path, operation: str) -> int:
    """Carry an operation out again and again, each time killed one step later, until it gets to its end."""
    for number in range(3):
        add(folder / "0" / "a.store", number)
    add(folder / "0" / "b.store", 20)
    name, run = OPERATIONS[operation]
    before = _seen(folder / "0" / name)
    shutil.copytree(folder / "0", folder / "whole")
    run(folder / "whole")
    after = _seen(folder / "whole" / name)
    for step in count():
        copy = folder / "copy"
        shutil.copytree(folder / "0", copy)
        killed = _killed(run, copy, step)
        assert _seen(copy / name) in ((before, after) if killed else (after,)), f"step {step}"
        run(copy)
        assert _seen(copy / name) == after, f"step {step}, and then again"
        assert _seen(copy / "a.store"), f"step {step}: the source"
        shutil.rmtree(copy)
        if not killed:
            return step
    return 0


def _seen(path: Path) -> Content | None:
    """Read a store, which must be sound; None where there is none yet."""
    versions = path / "versions"
    if not path.is_file() and not any(versions.glob("*.json")):
        return None
    found = verify(path)
    assert found.ok, found.problems
    return content(open_store(path))


def _killed(work: Callable[[Path], object], folder: Path, step: int) -> bool:
    """Do the work in a child that is killed before its step of that number, and say whether it was."""
    child = os.fork()
    if child == 0:
        _kill_at(step, str(folder))
        work(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _kill_at(step: int, folder: str) -> None:
    steps, sync = count(), os.fsync

    def take() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in STEPS and str(arguments[0]).startswith(folder):
            take()

    def counted_sync(descriptor: int) -> None:
        take()
        sync(descriptor)

    os.fsync = counted_sync
    sys.addaudithook(hook)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2]))
