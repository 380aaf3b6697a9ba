"""One image to its crops, in whatever process: a pure function of the image, its mask and the recipe."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from featstore.crops import augment, cut_crop, draw, find_blobs
from featstore.dataset import colour_shares, contamination, contamination_note, read_image, read_mask
from featstore.encoders import Encoder
from featstore.errors import ImageError
from featstore.extract.interrupts import STOPS
from featstore.extract.plan import ImageJob, note_without_folders
from featstore.recipe import Recipe

__all__ = ["Loaded", "Loader"]

Pixels = NDArray[np.uint8]


@dataclass
class Loaded:
    """What came of one image.

    Attributes
    ----------
    job : ImageJob
    reason, note : str
        Why it is left out; both empty when all is well.
    source : str
        Where the blobs came from.
    boxes : list of (blob, area_px, x0, y0, x1, y1)
    keys : list of (blob, repeat)
    artefact : str
        What contaminates the image; a training image is not cropped then.
    prepared : list of ndarray
        A crop for each key as the encoder takes it; empty when it was encoded here.
    encoded : list of ndarray of shape (dim,), float32
        An embedding for each key, as soon as there is one.
    seconds : dict
        By stage.
    """

    job: ImageJob
    reason: str = ""
    note: str = ""
    artefact: str = ""
    source: str = ""
    boxes: list[tuple[int, ...]] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)
    prepared: list[Pixels] = field(default_factory=list)
    encoded: list[NDArray[np.float32]] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


class Loader:
    """Reads, segments, crops and augments; encodes too where the encoder is of the light kind.

    Parameters
    ----------
    recipe : Recipe
    encoder : Encoder
        Only its ``prepare`` is kept, and its ``encode`` if it may run in a worker.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder) -> None:
        self.recipe = recipe
        self.prepare = encoder.prepare
        self.encode = encoder.encode if encoder.in_worker else None

    def __call__(self, job: ImageJob) -> Loaded:
        """Load one image; an image that can't be used comes back with its reason."""
        loaded = Loaded(job)
        try:
            self._load(loaded)
        except ImageError as error:
            note = note_without_folders(str(error), job.record)
            return Loaded(job, reason=str(error.reason), note=note, seconds=loaded.seconds)
        return loaded

    def _load(self, loaded: Loaded) -> None:
        job, record = loaded.job, loaded.job.record
        with _timed(loaded, "decode"):
            image = read_image(record.path)
            mask = read_mask(record.mask_path, shape=image.shape[:2]) if record.mask_path else None
        with _timed(loaded, "segment"):
            blobs = find_blobs(image, mask, self.recipe.crops)
            shares = colour_shares(image, blobs.tissue)
        loaded.artefact = str(contamination(shares) or "")
        loaded.source = str(blobs.source)
        loaded.note = "; ".join(text for text in (_NOTES[blobs.source], contamination_note(shares)) if text)
        if loaded.artefact and job.split == "train":
            return
        loaded.boxes = [(blob.index, blob.area_px, *blob.box) for blob in blobs.blobs]
        for blob in blobs.blobs:
            missing = [repeat for repeat in job.repeats if (blob.index, repeat) not in job.stored]
            if missing:
                with _timed(loaded, "augment"):
                    clean = cut_crop(image, blobs, blob, self.recipe.crops)
                self._make_repeats(loaded, clean, blob.index, missing)

    def _make_repeats(self, loaded: Loaded, clean: Pixels, blob: int, repeats: Sequence[int]) -> None:
        """Make repeats of one blob, and encode them here if the encoder is of the light kind."""
        loaded.keys.extend((blob, repeat) for repeat in repeats)
        for repeat in repeats:
            with _timed(loaded, "augment"):
                prepared = self.prepare(self._repeat(clean, loaded.job, blob, repeat))
            if self.encode is None:
                loaded.prepared.append(prepared)
            else:
                with _timed(loaded, "encode"):
                    loaded.encoded.extend(self.encode([prepared]))

    def _repeat(self, clean: Pixels, job: ImageJob, blob: int, repeat: int) -> Pixels:
        if repeat == 0:
            return clean
        settings, seed = self.recipe.augmentation, self.recipe.seed
        draws = draw(settings, seed=seed, image_digest=job.sha256, blob=blob, repeat=repeat)
        return augment(clean, draws, self.recipe.crops.fill)


_NOTES = {
    "mask": "",
    "whole_mask": "no blob of the mask is large enough: the whole mask was taken as one",
    "tissue": "no usable mask: tissue was found on the image itself",
}


@contextmanager
def _timed(loaded: Loaded, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        loaded.seconds[stage] += time.perf_counter() - start


_LOADER: list[Loader] = []


def start_worker(loader: Loader, lifeline: Connection) -> None:
    """Set up a worker process.

    Ctrl-C and SIGTERM are the main process's to handle, and OpenCV takes one thread. The worker ends when the main
    process lets go of the lifeline's other end: on purpose, or because it was killed.
    """
    import cv2

    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    cv2.setNumThreads(1)
    _LOADER[:] = [loader]


def work(job: ImageJob) -> Loaded:
    """Load one image in a worker process."""
    return _LOADER[0](job)


def _end_with(lifeline: Connection) -> None:
    with suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)
