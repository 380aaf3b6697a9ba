"""One image to its crops, in whatever process: a pure function of the image, its mask and the recipe."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.crops import Blobs, augment, cut_crop, draw, find_blobs
from featstore.dataset import colour_shares, contamination, contamination_note, read_image, read_mask
from featstore.encoders import Encoder
from featstore.errors import ImageError
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
    prepared : list of ndarray
        A crop for each key as the encoder takes it; empty when it was encoded here.
    embeddings : ndarray of shape (n_keys, dim), float32, or None
    seconds : dict
        By stage.
    """

    job: ImageJob
    reason: str = ""
    note: str = ""
    source: str = ""
    boxes: list[tuple[int, ...]] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)
    prepared: list[Pixels] = field(default_factory=list)
    embeddings: NDArray[np.float32] | None = None
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
            if record.split == "train":
                self._refuse_contaminated(image, blobs, job)
        loaded.source = str(blobs.source)
        loaded.note = record.note if blobs.source == "mask" else _fallback_note(record.note, blobs)
        loaded.boxes = [(blob.index, blob.area_px, *blob.box) for blob in blobs.blobs]
        self._crop(loaded, image, blobs)
        if self.encode and loaded.prepared:
            with _timed(loaded, "encode"):
                loaded.embeddings = self.encode(loaded.prepared)
            loaded.prepared = []

    def _refuse_contaminated(self, image: Pixels, blobs: Blobs, job: ImageJob) -> None:
        shares = colour_shares(image, blobs.tissue)
        reason = contamination(shares)
        if reason:
            raise ImageError(contamination_note(shares), reason=reason)

    def _crop(self, loaded: Loaded, image: Pixels, blobs: Blobs) -> None:
        job, recipe = loaded.job, self.recipe
        for blob in blobs.blobs:
            missing = [repeat for repeat in job.repeats if (blob.index, repeat) not in job.stored]
            if not missing:
                continue
            with _timed(loaded, "augment"):
                clean = cut_crop(image, blobs, blob, recipe.crops)
                for repeat in missing:
                    loaded.prepared.append(self.prepare(self._repeat(clean, job, blob.index, repeat)))
                    loaded.keys.append((blob.index, repeat))

    def _repeat(self, clean: Pixels, job: ImageJob, blob: int, repeat: int) -> Pixels:
        if repeat == 0:
            return clean
        settings, seed = self.recipe.augmentation, self.recipe.seed
        draws = draw(settings, seed=seed, image_digest=job.sha256, blob=blob, repeat=repeat)
        return augment(clean, draws, self.recipe.crops.fill)


def _fallback_note(note: str, blobs: Blobs) -> str:
    words = {
        "whole_mask": "no blob of the mask is large enough: the whole mask was taken as one",
        "tissue": "no usable mask: tissue was found on the image itself",
    }
    return "; ".join(text for text in (note, words[str(blobs.source)]) if text)


@contextmanager
def _timed(loaded: Loaded, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        loaded.seconds[stage] += time.perf_counter() - start


_LOADER: list[Any] = []


def start_worker(loader: Loader) -> None:
    """Set up a worker process: Ctrl-C is the main process's to handle, and OpenCV takes one thread."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _LOADER[:] = [loader]


def work(job: ImageJob) -> Loaded:
    """Load one image in a worker process."""
    loaded: Loaded = _LOADER[0](job)
    return loaded
