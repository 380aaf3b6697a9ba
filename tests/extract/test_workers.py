"""Loader processes: they die and are replaced, and nobody can tell from the result."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import psutil
import pytest

from featstore.dataset import Reason
from featstore.encoders import load_encoder
from featstore.encoders.processor import Resize
from featstore.errors import FeatstoreError, ImageError
from featstore.extract import Setup, Station, loader
from featstore.extract.plan import ImageJob
from featstore.extract.worker import SLOTS, Ring
from featstore.recipe import Recipe
from featstore.store import open_store


@pytest.mark.parametrize("light", [True, False])
def test_a_killed_worker_is_replaced_and_nothing_shows(challenge, run, tissue, tiny_dinov2, children, tmp_path, light):
    def kill_one(progress) -> None:
        """Kill a loader as soon as the first image is through."""
        if progress.images == 1:
            os.kill(children()[0], signal.SIGKILL)

    for number in range(6, 14):
        tissue(challenge / "train_data", number)
    encoder = None if light else load_encoder("tiny", weights=tiny_dinov2, device="cpu", precision="float32")
    result = run(challenge, tmp_path / "s.store", train=3, workers=2, encoder=encoder, progress=kill_one)
    run(challenge, tmp_path / "whole.store", train=3, workers=0, encoder=encoder)
    store, whole = open_store(tmp_path / "s.store"), open_store(tmp_path / "whole.store")
    assert result.computed == len(whole)
    np.testing.assert_array_equal(store.keys, whole.keys)
    np.testing.assert_allclose(store.embeddings(), whole.embeddings(), atol=0 if light else 1e-5)


@dataclass(frozen=True)
class Deadly:
    """A light encoder whose process ends at a crop of one size, or at any."""

    inner: object
    side: int | None
    in_worker: bool = True

    def __getattr__(self, name):
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def encode(self, prepared):
        if self.side in (None, len(prepared[0])) and multiprocessing.parent_process():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.encode(prepared)


def test_an_image_that_kills_its_workers_is_a_row_and_the_rest_is_done(challenge, run, stain_texture, tmp_path):
    run(challenge, tmp_path / "all.store", train=1)
    image, side = largest_crop(open_store(tmp_path / "all.store"))
    deadly = Deadly(stain_texture, side)
    result = run(challenge, tmp_path / "s.store", train=1, workers=1, encoder=deadly)
    assert [(row["image"], row["reason"]) for row in result.rejected] == [(image, "failed")]
    assert "two loader processes were killed" in result.rejected[0]["note"]
    assert image not in set(open_store(tmp_path / "s.store").keys["image"])
    again = run(challenge, tmp_path / "s.store", train=1)
    assert (again.rejected, again.computed) == ([], 4 if image.startswith("train") else 2)
    store, whole = open_store(tmp_path / "s.store"), open_store(tmp_path / "all.store")
    np.testing.assert_array_equal(store.embeddings(), whole.embeddings())


def largest_crop(store) -> tuple[str, int]:
    """Tell the image with the largest crop that no other image has, and its side."""
    sides: dict[int, set[str]] = {}
    for row in store.blobs:
        side = max(row["x1"] - row["x0"], row["y1"] - row["y0"])
        sides.setdefault(int(side + 2 * int(0.1 * side + 0.5)), set()).add(str(row["image"]))
    side = max(side for side, images in sides.items() if len(images) == 1)
    return next(iter(sides[side])), side


def test_when_every_image_kills_its_workers_the_run_ends(challenge, run, stain_texture, tmp_path):
    with pytest.raises(FeatstoreError, match=r"killed again and again.*fewer --workers"):
        run(challenge, tmp_path / "s.store", workers=1, encoder=Deadly(stain_texture, None))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_goes_wrong_with_an_image_is_on_its_row_and_tried_again(challenge, run, stain_texture, tmp_path, workers):
    result = run(challenge, tmp_path / "s.store", train=2, workers=workers, encoder=Failing(stain_texture, 3))
    assert {row["reason"] for row in result.rejected} == {"failed"}
    assert {row["note"] for row in result.rejected} == {"ZeroDivisionError: of a library"}
    assert result.images > 0
    assert len(open_store(tmp_path / "s.store")) == result.computed
    run(challenge, tmp_path / "s.store", train=2)
    run(challenge, tmp_path / "whole.store", train=2)
    store, whole = open_store(tmp_path / "s.store"), open_store(tmp_path / "whole.store")
    np.testing.assert_array_equal(store.keys, whole.keys)
    np.testing.assert_array_equal(store.embeddings(), whole.embeddings())


def test_an_image_that_fails_keeps_what_it_has(challenge, run, stain_texture, tmp_path):
    run(challenge, tmp_path / "s.store", train=1)
    before = open_store(tmp_path / "s.store")
    result = run(challenge, tmp_path / "s.store", train=3, workers=0, encoder=Failing(stain_texture, 0))
    assert (result.computed, result.rejected, len(result.incomplete)) == (0, [], 6)
    after = open_store(tmp_path / "s.store")
    assert after.keys.tolist() == before.keys.tolist()
    assert after.usable("train") == before.usable("train")


def test_an_image_that_can_not_be_read_for_a_while_keeps_what_it_has(challenge, run, tmp_path, monkeypatch):
    """Its files are the same: what failed is the way to them."""
    run(challenge, tmp_path / "s.store", train=1)

    def stale(path, read=loader.read_image):
        if path.name == "img_0003.png":
            raise ImageError(f"{path} can't be read (Stale file handle)", reason=Reason.UNREADABLE)
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(loader, "read_image", stale)
        result = run(challenge, tmp_path / "s.store", train=2, workers=0)
    assert [row["image"] for row in result.incomplete] == ["train_data/img_0003.png"]
    assert "train_data/img_0003.png" in open_store(tmp_path / "s.store").usable("train")
    again = run(challenge, tmp_path / "s.store", train=2)
    assert (again.incomplete, again.rejected) == ([], [])
    assert again.computed > 0


@dataclass
class Failing:
    """A light encoder that fails at some of its crops, always the same ones."""

    inner: object
    of_four: int
    in_worker: bool = True
    __getattr__ = Deadly.__getattr__

    def encode(self, prepared):
        if int(prepared[0].sum()) % 4 >= self.of_four:
            raise ZeroDivisionError("of a library")
        return self.inner.encode(prepared)


def test_many_stored_keys_on_the_way_to_a_worker_block_nothing(challenge, stain_texture, dataset_jobs):
    """A job larger than a pipe's buffer, while the worker's own messages wait: neither waits for the other."""
    stored = frozenset((blob, repeat) for blob in range(50) for repeat in range(1000, 4000))
    jobs = [ImageJob(job.record, "train", job.sha256, "", tuple(range(40)), stored) for job in dataset_jobs(challenge)]
    images = []
    with Station(Setup(Recipe(stain_texture.settings), stain_texture, workers=1)) as station:
        station.embed(jobs, lambda image: (time.sleep(0.2), images.append(image)), lambda: None)
    assert sorted(image.job.record.image for image in images) == sorted(job.record.image for job in jobs)
    assert all(len(image.encoded) == 2 * 40 for image in images)


def test_a_ring_gives_back_what_was_put_in():
    """More crops than it has slots, in the pace that the two sides keep."""
    ring = Ring(multiprocessing.get_context("spawn"), 4)
    reader = Ring.__new__(Ring)
    vars(reader).update(vars(ring))
    crops = np.random.default_rng(0).integers(0, 256, (3 * SLOTS, 4, 4, 3), dtype=np.uint8)
    for start in range(0, len(crops), SLOTS):
        for crop in crops[start : start + SLOTS]:
            ring.write(crop)
        for crop, expected in zip(reader.read(SLOTS), crops[start : start + SLOTS], strict=True):
            np.testing.assert_array_equal(crop, expected)


def test_processes_are_started_as_there_is_work(challenge, run, children, tmp_path):
    seen = []
    run(
        challenge,
        tmp_path / "s.store",
        workers=40,
        progress=lambda _: seen.append(len(children())),
    )
    assert 1 <= max(seen) <= 8
    assert children() == []


def test_loaders_rest_while_a_cpu_encodes(challenge, dataset_jobs, stain_texture, children):
    """They would take the model's cores; there are more crops than the loaders have slots."""

    def spent() -> float:
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in children())

    class Slow:
        settings = replace(stain_texture.settings, input_size_px=32)
        in_worker, how, prepare = False, MappingProxyType({}), Resize(32)
        used: ClassVar[list[float]] = []

        def start(self) -> None:
            """Nothing is to be loaded."""

        def encode(self, prepared):
            before = spent()
            time.sleep(0.1)
            self.used.append(spent() - before)
            return np.zeros((len(prepared), self.settings.dim), np.float32)

    jobs, images = dataset_jobs(challenge, repeats=range(60)), []
    with Station(Setup(Recipe(Slow.settings), Slow(), batch_size=24, workers=2)) as station:
        station.embed(jobs, images.append, lambda: None)
    assert sum(len(image.encoded) for image in images) == 8 * 2 * 60
    assert max(Slow.used) < 0.05


def test_decoding_happens_once_an_image(challenge, dataset_jobs, stain_texture, monkeypatch):
    from featstore.extract import loader as loader_module

    calls = []
    monkeypatch.setattr(
        loader_module, "read_image", lambda path, f=loader_module.read_image: calls.append(path) or f(path)
    )
    with Station(Setup(Recipe(stain_texture.settings), stain_texture, workers=0)) as station:
        station.embed(dataset_jobs(challenge, repeats=range(5)), lambda image: None, lambda: None)
    assert len(calls) == len(set(calls)) == 8
