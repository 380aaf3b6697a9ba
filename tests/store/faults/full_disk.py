"""Write to a disk that has no more than so many bytes left; run by the test, where it may mount one.

``python full_disk.py FOLDER OPERATION``, where FOLDER is a small file system of its own: the room is swept upwards, a
page at a time, until the operation succeeds. Prints, as JSON, how often the disk was full, and in which kind of file.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from featstore.errors import StoreWriteError
from featstore.store import NewLabel, Store, create_store, merge, open_store, pack, relabel, vacuum, verify

RECIPE, DIM, ROWS = {"encoder": "made-up"}, 64, 60
PAGE = 4096


def add(path: Path, number: int) -> None:
    """Add an image of 60 rows, of 15 kB."""
    with create_store(path, RECIPE, DIM) as writer:
        writer.add(f"{number:04d}", range(ROWS), [0] * ROWS, np.full((ROWS, DIM), number))


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "create": lambda folder: add(folder / "new.store", 9),
    "append": lambda folder: add(folder / "a.store", 9),
    "relabel": lambda folder: relabel(folder / "a.store", [NewLabel(f"{n:04d}", label="B" * 9000) for n in range(4)]),
    "compact": lambda folder: vacuum(folder / "a.store", apply=True, grace_s=0.0, compact=True),
    "pack": lambda folder: pack(open_store(folder / "a.store"), folder / "a.h5"),
    "merge": lambda folder: merge([folder / "a.store"], folder / "new.store"),
}


def main(folder: Path, operation: str) -> dict[str, int]:
    """Sweep the room that is left from nothing to enough, each time with the store as it was at first."""
    template, store = folder / "template", folder / "a.store"
    for number in range(4):
        add(template, number)
    full: Counter[str] = Counter()
    room = 0
    while True:
        shutil.copytree(template, store)
        before = _content(_sound(store))
        was_full = _is_full(folder, operation, room, full)
        if was_full:
            assert _content(_sound(store)) == before, f"room {room}"
            assert not list(folder.rglob(".tmp-*")), f"room {room}: litter"
            assert not (folder / "a.h5").exists(), f"room {room}: half a packed store"
            OPERATIONS[operation](folder)
        written = {"create": folder / "new.store", "merge": folder / "new.store", "pack": folder / "a.h5"}.get(
            operation, store
        )
        assert _content(_sound(written)) != before or operation == "pack"
        shutil.rmtree(written) if written.is_dir() else written.unlink()
        shutil.rmtree(store, ignore_errors=True)
        if not was_full:
            return dict(full)
        room += PAGE


def _is_full(folder: Path, operation: str, room: int, full: Counter[str]) -> bool:
    """Carry out the operation with ``room`` bytes left, and say whether that was too little."""
    filler = folder / "filler"
    free = shutil.disk_usage(folder).free
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, free - room) if free > room else None
    try:
        OPERATIONS[operation](folder)
    except StoreWriteError as error:
        name, said, _ = str(error).partition(": no space left")
        if not said:
            raise AssertionError("full, and not said") from error
        where = Path(name)
        full[where.relative_to(folder).parent.name or where.suffix] += 1
        return True
    finally:
        filler.unlink()
    return False


def _sound(path: Path) -> Store:
    found = verify(path)
    assert found.ok, found.problems
    return open_store(path)


def _content(store: Store) -> tuple[object, ...]:
    labels = [row.label for row in store.images.values()]
    return store.version, store.keys.tobytes(), store.embeddings().tobytes(), labels


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
