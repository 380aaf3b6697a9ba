"""``kill -9`` at random moments of a running extraction, resumed each time."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from featstore.store import open_store, vacuum

SIDE_PX = 160

# The command as users run it, but with a segment of every image, and a version of every image.
EXTRACT = """
from featstore.extract import run
from featstore.store import writer
run.COMMIT_SECONDS, writer.SEGMENT_BYTES = 0.0, 1
from featstore_cli.app import app
app()
"""


def _write_data(folder: Path, images: int) -> Path:
    """Purple texture, and masks with two discs."""
    for number in range(images):
        noise = np.random.default_rng(number).uniform(-60, 60, size=(SIDE_PX, SIDE_PX, 1)).astype(np.float32)
        texture = cv2.GaussianBlur(noise, (0, 0), 2)[..., None]
        mask = np.zeros((SIDE_PX, SIDE_PX), dtype=np.uint8)
        for x, y in ((40, 40), (120, 100)):
            cv2.circle(mask, (x, y), 20 + number % 5, 255, -1)
        image = np.clip(np.array([170, 90, 160]) + texture * [2, 3, 2], 0, 255).astype(np.uint8)
        root = folder / "train_data"
        root.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"img_{number:04d}.png"), image)
        cv2.imwrite(str(root / f"mask_{number:04d}.png"), mask)
    labels = "".join(f"img_{number:04d}.png,{'AB'[number % 2]}\n" for number in range(images))
    (folder / "train_labels.csv").write_text("sample_index,label\n" + labels)
    return folder


def _start(data: Path, store: Path, workers: int = 0) -> subprocess.Popen[bytes]:
    options = ["--encoder", "stain-texture", "--repeats", "2", "--workers", str(workers)]
    command = [sys.executable, "-c", EXTRACT, "extract", str(data), "--store", str(store), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _uninterrupted(data: Path, store: Path) -> float:
    """Extract without a kill, and tell after how many seconds the first version was there."""
    started = time.perf_counter()
    process = _start(data, store)
    first = 0.0
    while process.poll() is None:
        if not first and (store / "versions" / "00000001.json").exists():
            first = time.perf_counter() - started
        time.sleep(0.002)
    assert process.returncode == 0
    return first


class _Reference:
    """What an uninterrupted run stored."""

    def __init__(self, path: Path) -> None:
        self.store = open_store(path)
        self.keys, self.embeddings = self.store.keys, self.store.embeddings()
        self.row = {key.item(): row for row, key in enumerate(self.keys)}

    def check(self, store, before: list[tuple]) -> list[tuple]:
        """Require that every row is one of ours, bit for bit, and that none of ``before`` is lost."""
        keys = [key.item() for key in store.keys]
        assert set(before) <= set(keys)
        wanted = self.embeddings[[self.row[key] for key in keys]]
        assert store.embeddings().tobytes() == wanted.tobytes()
        return keys

    def check_end(self, store) -> None:
        """Require the same store, as far as anybody can see."""
        assert store.keys.tobytes() == self.keys.tobytes()
        assert store.embeddings().tobytes() == self.embeddings.tobytes()
        assert store.blobs.tobytes() == self.store.blobs.tobytes()
        assert dict(store.images) == dict(self.store.images)


class _Run:
    """An extraction into one store, killed again and again."""

    def __init__(self, data: Path, path: Path) -> None:
        self.data, self.path = data, path
        self.done = False
        self.keys: list[tuple] = []
        self.files: set[Path] = set()

    def kill_after(self, delay_s: float, *, under_way: bool, workers: int) -> str:
        """Start it and kill it; say what the kill came in the midst of, or nothing where it came too late.

        The delay begins with the process, or, ``under_way``, with the first version that the process commits.
        """
        before = self.versions()
        process = _start(self.data, self.path, workers)
        while under_way and process.poll() is None and self.versions() == before:
            time.sleep(0.001)
        time.sleep(delay_s)
        process.kill()
        self.done = process.wait() == 0
        assert self.done or process.returncode == -signal.SIGKILL
        new = set(self.path.rglob("*")) - self.files
        self.files |= new
        cut = sorted(file.parent.name for file in new if file.name.startswith(".tmp-"))
        if self.done:
            return ""
        return f"within {cut[0]}" if cut else "between files" if new else "before its first file"

    def versions(self) -> int:
        """Count the versions there."""
        return sum(1 for _ in (self.path / "versions").glob("*.json"))


def _kill(run: _Run, rng: random.Random, start_s: float) -> str:
    """Kill it at a random moment: of its start in one of three cases, else of its work; one in five has a worker."""
    under_way = rng.random() < 2 / 3
    return run.kill_after(rng.uniform(0.0, start_s), under_way=under_way, workers=int(rng.random() < 0.2))


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, sound, tell, long):
    """Rounds of kills on one set of images, a fresh store each round, until enough of them hit a living process."""
    wanted, images = (200, 120) if long else (10, 30)
    data = _write_data(tmp_path / "data", images)
    start_s = _uninterrupted(data, tmp_path / "whole.store")
    reference = _Reference(tmp_path / "whole.store")
    rng, hits, versions, rounds = random.Random(0), Counter(), set(), 0
    while hits.total() < wanted:
        run, rounds = _Run(data, tmp_path / f"{rounds}.store"), rounds + 1
        while not run.done and hits.total() < wanted:
            hits.update(filter(None, [_kill(run, rng, start_s)]))
            if run.versions():
                store = sound(run.path)
                run.keys = reference.check(store, run.keys)
                versions.add((rounds, store.version))
        assert _start(data, run.path).wait() == 0
        reference.check_end(sound(run.path))
        vacuum(run.path, apply=True, grace_s=0.0)
        reference.check_end(sound(run.path))
        assert not list(run.path.rglob(".tmp-*"))
    tell(kills=hits.total(), rounds=rounds, versions_seen=len(versions), hit=dict(hits))
    assert hits.total() - hits["before its first file"] >= wanted // 3, "most kills came too early to show anything"
    assert len(versions) >= wanted // 4, "hardly a run got on between two kills"
