"""Eight processes that append to one store at once, alone and while it is compacted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

WRITERS = 8
DIM = 8

# Every writer waits for a word on its standard input, so that all of them start at once.
WRITER = """
import sys
import numpy as np
from featstore.store import create_store

path, first, commits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + commits):
    with create_store(path, {"a": 1}, 8) as writer:
        writer.add(f"{number:05d}", [0, 1], [0, 0], np.full((2, 8), number) + [[0.0], [0.5]], label=str(number))
"""


# Compacts again and again, until its standard input ends; being too late is no fault.
COMPACTOR = """
import select, sys
from featstore.errors import StoreNotFoundError, StoreWriteError
from featstore.store import vacuum

print("ready", flush=True)
sys.stdin.readline()
while not (select.select([sys.stdin], [], [], 0)[0] and not sys.stdin.readline()):
    try:
        vacuum(sys.argv[1], apply=True, compact=True)
    except (StoreNotFoundError, StoreWriteError) as error:
        if not isinstance(error, StoreNotFoundError) and "another writer was faster" not in str(error):
            raise
"""


def _race(path, commits: int, *, others: Sequence[str] = ()) -> float:
    """Let eight writers, and other programs, begin at once; return the seconds until the writers are done."""
    writers = [[WRITER, str(path), str(1000 * k), str(commits)] for k in range(WRITERS)]
    programs = [*writers, *([program, str(path)] for program in others)]
    processes = [
        subprocess.Popen([sys.executable, "-c", *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for program in programs
    ]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    started = time.perf_counter()
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes[:WRITERS]:
        process.wait()
    seconds = time.perf_counter() - started
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    return seconds


def _check_rows(store, commits: int) -> list[int]:
    """Require the two rows of each image of each writer, with their own numbers and label."""
    numbers = [1000 * k + n for k in range(WRITERS) for n in range(commits)]
    assert [key.item() for key in store.keys] == [(f"{n:05d}", blob, 0) for n in numbers for blob in (0, 1)]
    rows = np.repeat(numbers, 2) + np.tile([0.0, 0.5], len(numbers))
    np.testing.assert_array_equal(store.embeddings(), np.tile(rows[:, None], DIM))
    assert {name: row.label for name, row in store.images.items()} == {f"{n:05d}": str(n) for n in numbers}
    return numbers


@pytest.mark.slow
def test_eight_writers_lose_nothing(tmp_path, sound, tell, long):
    commits, path = 50 if long else 5, tmp_path / "x.store"
    seconds = _race(path, commits)
    store = sound(path)
    _check_rows(store, commits)
    log = list(store.log())
    assert [entry["version"] for entry in log] == [*range(WRITERS * commits, 0, -1)]
    assert [entry["added"]["rows"] for entry in log] == [2] * len(log)
    tell(writers=WRITERS, versions=store.version, seconds=f"{seconds:.1f}")


@pytest.mark.slow
def test_eight_writers_while_the_store_is_compacted(tmp_path, sound, tell, long):
    commits, path = 50 if long else 5, tmp_path / "x.store"
    _race(path, commits, others=[COMPACTOR])
    store = sound(path)
    _check_rows(store, commits)
    words = Counter(entry["operation"] for entry in store.log())
    assert words["add"] == WRITERS * commits
    assert words["compact"] > 0
    tell(writers=WRITERS, **words)
