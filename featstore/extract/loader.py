"""One image to its crops, in whatever process: a pure function of the image, its mask and the recipe."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.crops import (
    Blobs,
    Draws,
    Place,
    augment,
    bring_to_working_size,
    cut_place,
    draw,
    find_blobs,
    find_places,
    normalise_stains,
)
from featstore.dataset import Limits, Reason, contaminant, find_artefacts, perceptual_hash, read_image, read_mask
from featstore.encoders import Encoder
from featstore.errors import FeatstoreError, ImageError
from featstore.extract.plan import ImageJob, note_without_folders
from featstore.recipe import Recipe

__all__ = ["Loaded", "Loader"]

Pixels = NDArray[np.uint8]


@dataclass(eq=False)
class Loaded:
    """What came of one image, as far as it has come.

    Attributes
    ----------
    job : ImageJob
    reason, note : str
        Why it is left out; both empty when all is well.
    source : str
        Where the blobs came from.
    mask : str
        What was found of its mask.
    look : str
        The image's perceptual hash.
    boxes : list of (blob, area_px, x0, y0, x1, y1, scale, parent)
    keys : list of (blob, repeat)
    artefact : str
        What contaminates the image; a training image is not cropped then.
    encoded : list of ndarray of shape (dim,), float32
        An embedding for each key, as soon as there is one.
    is_loaded : bool
        True when no more keys come.
    seconds : dict
        By stage.
    """

    job: ImageJob
    reason: str = ""
    note: str = ""
    artefact: str = ""
    source: str = ""
    mask: str = ""
    look: str = ""
    boxes: list[tuple[int, ...]] = field(default_factory=list)
    keys: list[tuple[int, int]] = field(default_factory=list)
    encoded: list[NDArray[np.float32]] = field(default_factory=list)
    is_loaded: bool = False
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def fail(self, error: Exception) -> None:
        """Note why an image can't be used, or what went wrong with it."""
        self.reason = str(error.reason if isinstance(error, ImageError) else Reason.FAILED)
        said = str(error) if isinstance(error, FeatstoreError) else f"{type(error).__name__}: {error}"
        self.note = note_without_folders(said, self.job.record)


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
        self.limits = Limits.of(recipe.crops.limits).artefacts
        self.prepare = encoder.prepare
        self.encode = encoder.encode if encoder.in_worker else None

    def load(self, loaded: Loaded) -> Iterator[NDArray[Any]]:
        """Load an image, one crop after the other.

        Parameters
        ----------
        loaded : Loaded
            With its job; the rest is filled in on the way. One that can't be used gets its reason, and has no crops.

        Yields
        ------
        ndarray
            For each of the keys, in their order: a crop as the encoder takes it, or from an encoder of the light kind
            its embedding.
        """
        try:
            yield from self._load(loaded)
        except Exception as error:  # noqa: BLE001 - one image must not end the run of all others
            loaded.fail(error)

    def look(self, loaded: Loaded) -> None:
        """Find the blobs of an image, and whether it is left out, without making crops."""
        try:
            self._open(loaded)
        except Exception as error:  # noqa: BLE001 - as in `load`
            loaded.fail(error)

    def _open(self, loaded: Loaded) -> tuple[Pixels, Blobs, Sequence[Place]] | None:
        """Read and segment an image; None where it is contaminated and meant for training."""
        record = loaded.job.record
        with _timed(loaded, "decode"):
            image = read_image(record.path)
            mask = read_mask(record.mask_path, shape=image.shape[:2]) if record.mask_path else None
        with _timed(loaded, "segment"):
            blobs = find_blobs(image, mask, self.recipe.crops)
            loaded.artefact, why = self._contaminant(image, blobs)
            loaded.look = perceptual_hash(image)
            places = find_places(blobs, self.recipe.crops, record.mpp)
        loaded.source, loaded.mask = str(blobs.source), blobs.mask
        loaded.note = "; ".join(text for text in (blobs.note, why) if text)
        if loaded.artefact and loaded.job.split == "train":
            return None
        loaded.boxes = [place.row for place in places]
        return image, blobs, places

    def _contaminant(self, image: Pixels, blobs: Blobs) -> tuple[str, str]:
        """Tell what would keep an image out of training, as a code and in words."""
        if self.recipe.crops.artefacts == "keep":
            return "", ""
        reason, why = contaminant(find_artefacts(image, blobs.tissue, self.limits), blobs.tissue, self.limits)
        return str(reason or ""), why

    def _load(self, loaded: Loaded) -> Iterator[NDArray[Any]]:
        opened = self._open(loaded)
        if opened is None:
            return
        image, blobs, places = opened
        with _timed(loaded, "augment"):
            image, note = normalise_stains(image, self.recipe.stain)
        loaded.note = "; ".join(text for text in (loaded.note, note) if text)
        for place in places:
            missing = loaded.job.missing(place.number)
            if missing:
                with _timed(loaded, "augment"):
                    clean = cut_place(image, blobs, place, self.recipe.crops)
                yield from self._make_repeats(loaded, clean, place.number, missing)

    def _make_repeats(self, loaded: Loaded, clean: Pixels, blob: int, repeats: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Make repeats of one blob, and encode them here if the encoder is of the light kind."""
        size_px = min(self.recipe.encoder.input_size_px or len(clean), len(clean))
        with _timed(loaded, "augment"):
            working = bring_to_working_size(clean, size_px)
        for repeat in repeats:
            with _timed(loaded, "augment"):
                crop = clean
                if repeat > 0:
                    draws = self._draws(loaded.job, blob, repeat)
                    crop = augment(working, draws, self.recipe.crops.fill, side_px=len(clean), size_px=size_px)
                prepared = self.prepare(crop)
            if self.encode is not None:
                with _timed(loaded, "encode"):
                    (prepared,) = self.encode([prepared])
            loaded.keys.append((blob, repeat))
            yield prepared

    def _draws(self, job: ImageJob, blob: int, repeat: int) -> Draws:
        settings, seed = self.recipe.augmentation, self.recipe.seed
        return draw(settings, seed=seed, image_digest=job.sha256, blob=blob, repeat=repeat)


@contextmanager
def _timed(loaded: Loaded, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        loaded.seconds[stage] += time.perf_counter() - start
