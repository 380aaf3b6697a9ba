"""What a run would do, before it is begun: counted where it can be, else estimated from a sample of the images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

import numpy as np

from featstore.dataset import Dataset
from featstore.encoders import Encoder
from featstore.extract.interrupts import Interrupts
from featstore.extract.loader import Loaded, Loader
from featstore.extract.plan import ImageJob, Repeats, Shard
from featstore.extract.resolution import plan_at_resolutions
from featstore.extract.sink import EmbeddingSink
from featstore.extract.station import Engine, Setup, Station
from featstore.recipe import OBJECT, Recipe

__all__ = ["Estimate", "estimate"]

SAMPLE = 48
"""Images whose blobs are counted; of more images the rest is reckoned from these."""

WARM_UP_S = 8.0
"""How long embeddings are made to see how fast they come."""


@dataclass(frozen=True)
class Estimate:
    """What a run would do.

    Attributes
    ----------
    images : int
        Of the data, or of the shard.
    to_do : int
        Images of which something is missing.
    blobs, crops : int
        A blob has a crop at each scale, and tiles.
        Of all images; see ``exact``.
    present, to_compute : int
        Embeddings that are stored already, and that are missing.
    bytes : int
        What the missing ones take on the disk.
    exact : bool
        False where blobs were counted on a sample of the images.
    embeddings_per_s : float
        As measured in a short warm-up; 0 where nothing is missing.
    seconds : float
        How long the run would take, the time to load the encoder included.
    """

    images: int
    to_do: int
    blobs: int
    crops: int
    present: int
    to_compute: int
    bytes: int
    exact: bool
    embeddings_per_s: float
    seconds: float


class _Enough(Exception):  # noqa: N818 - the end of the warm-up is no error
    pass


def estimate(
    dataset: Dataset,
    encoder: Encoder,
    recipe: Recipe,
    sink: EmbeddingSink,
    *,
    repeats: Repeats,
    dtype: str = "float32",
    shard: Shard | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: Callable[[Setup], AbstractContextManager[Engine]] = Station,
) -> Estimate:
    """Tell what `extract` would do; nothing is written.

    Parameters
    ----------
    dataset, encoder, recipe, sink, repeats, shard, batch_size, workers, engine
        As `extract` takes them.
    dtype : {"float32", "float16"}
        How embeddings are stored.

    Returns
    -------
    Estimate
    """
    records = (shard or Shard()).records(dataset)
    setup = Setup(recipe, encoder, batch_size, workers)
    with Interrupts() as interrupts:
        plan = plan_at_resolutions(records, recipe.crops, sink, repeats, interrupts.check)
        jobs = list(plan.jobs)
        sample = [jobs[place] for place in np.unique(np.linspace(0, len(jobs) - 1, SAMPLE).astype(int))] if jobs else []
        loader = Loader(recipe, encoder)
        found = [_scales_found(loader, job, interrupts.check) for job in sample]
        rate, start_s = _warm_up(setup, engine, sample, interrupts.check) if any(found) else (0.0, 0.0)
    missing = [len(job.missing(crop)) for job, scales in zip(sample, found, strict=True) for crop in range(len(scales))]
    scale = len(jobs) / max(1, len(sample))
    to_compute = round(scale * sum(missing))
    done = [(record.image, known) for record, _ in plan.settled if (known := sink.images.get(record.image))]
    present = sum(len(sink.stored(image, known.identity)) for image, known in done)
    crops = sum(known.blobs for _, known in done)
    own = crops if recipe.crops.of_one_scale else sink.own_blobs(image for image, _ in done)
    return Estimate(
        images=len(records),
        to_do=len(jobs),
        blobs=own + round(scale * sum(each.count(OBJECT) for each in found)),
        crops=crops + round(scale * sum(map(len, found))),
        present=present + sum(len(job.stored) for job in jobs),
        to_compute=to_compute,
        bytes=to_compute * recipe.encoder.dim * np.dtype(dtype).itemsize,
        exact=len(sample) == len(jobs),
        embeddings_per_s=rate,
        seconds=start_s + to_compute / rate if rate else 0.0,
    )


def _scales_found(loader: Loader, job: ImageJob, check: Callable[[], None]) -> list[int]:
    """List the scale of each crop of an image; one that can't be used has none."""
    check()
    image = Loaded(job)
    loader.look(image)
    return [scale for *_, scale, _ in image.boxes]


def _warm_up(
    setup: Setup,
    engine: Callable[[Setup], AbstractContextManager[Engine]],
    sample: Sequence[ImageJob],
    check: Callable[[], None],
) -> tuple[float, float]:
    """Embed for a while: embeddings a second once the first image is through, and seconds until then."""
    begun = time.perf_counter()
    finished: list[tuple[float, int]] = []

    def note(image: Loaded) -> None:
        finished.append((time.perf_counter(), len(image.keys)))

    def look() -> None:
        check()
        if len(finished) > 1 and time.perf_counter() - finished[0][0] > WARM_UP_S:
            raise _Enough

    with engine(setup) as chosen, suppress(_Enough):
        chosen.embed(sample, note, look)
    first_s, first = finished[0]
    count, seconds = sum(count for _, count in finished[1:]), finished[-1][0] - first_s
    if count and seconds > 0:
        return count / seconds, first_s - begun
    return first / (first_s - begun), 0.0
