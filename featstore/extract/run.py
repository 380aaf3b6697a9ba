"""The run: plans, lets an engine embed what is missing, stores as it goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from featstore.dataset import Dataset, ImageRecord
from featstore.encoders import Encoder
from featstore.errors import DataError
from featstore.extract.interrupts import Interrupts
from featstore.extract.loader import Loaded
from featstore.extract.plan import Repeats, Shard, record_facts
from featstore.extract.resolution import plan_at_resolutions, resolution_of
from featstore.extract.result import Extraction, Progress, summarise
from featstore.extract.sink import EmbeddingSink
from featstore.extract.stages import find_bottleneck
from featstore.extract.station import Engine, Setup, Station
from featstore.extract.writing import Writing
from featstore.recipe import Recipe

__all__ = ["extract"]

COMMIT_SECONDS = 30.0
"""At most this much work is lost to a kill; each commit is one more version of a few kilobytes."""


def extract(
    dataset: Dataset,
    encoder: Encoder,
    recipe: Recipe,
    sink: EmbeddingSink,
    *,
    repeats: Repeats,
    shard: Shard | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: Callable[[Setup], AbstractContextManager[Engine]] = Station,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Extraction:
    """Compute every embedding of the data that the sink does not hold yet.

    What is finished is committed every `COMMIT_SECONDS`, and also when the run is interrupted or fails. Where nothing
    is missing the encoder is not loaded.

    Parameters
    ----------
    dataset : Dataset
    encoder : Encoder
    recipe : Recipe
        The one that the sink was made with.
    sink : EmbeddingSink
    repeats : Repeats
    shard : Shard, optional
        Which part of the images is this run's; all by default.
    batch_size : int, optional
        Crops that go through the encoder together; found by trial by default.
    workers : int, optional
        Processes that load images, 0 for none of their own; what suits the machine by default.
    engine : callable, optional
        Where embeddings are made: on one device of this machine, by default.
    progress : callable, optional
        Called after each image.

    Returns
    -------
    Extraction

    Raises
    ------
    DataError
        If no image of the data can be used, or tiles are to have a resolution and that of images is not known, or not
        that of embeddings which are there.
    FeatstoreError
        If processes were killed again and again, or a machine can't go on. What was finished is committed.
    """
    started = time.perf_counter()
    setup = Setup(recipe, encoder, batch_size, workers)
    records = (shard or Shard()).records(dataset)
    result = Extraction()
    with Interrupts() as interrupts:
        plan = plan_at_resolutions(records, recipe.crops, sink, repeats, interrupts.check)
        for record, facts in plan.settled:
            sink.register(record.image, **record_facts(record), **facts)
        if plan.jobs:
            resolution = partial(resolution_of, crops=recipe.crops)
            with (
                engine(setup) as chosen,
                _Storing(chosen, sink, result, progress, len(plan.jobs), resolution) as storing,
            ):
                chosen.embed(plan.jobs, storing.put, interrupts.check)
        result.version = sink.commit()
    summarise(result, dataset, records, sink, of_one_scale=recipe.crops.of_one_scale)
    result.seconds = time.perf_counter() - started
    if records and not result.images and not shard:
        raise DataError(
            _nothing_usable(dataset, result), remedy="Look at the reasons, mend the data, and run it again."
        )
    return result


class _Storing(Writing):
    """Stores what an engine finishes, and commits now and then; at the end it tells how the time was spent."""

    def __init__(
        self,
        engine: Engine,
        sink: EmbeddingSink,
        result: Extraction,
        progress: Callable[[Progress], None],
        total: int,
        resolution: Callable[[ImageRecord], str],
    ) -> None:
        super().__init__(self._store)
        self._engine, self._sink, self._result = engine, sink, result
        self._progress, self._total, self._done = progress, total, 0
        self._resolution = resolution
        self._recorded = dict(sink.how)
        self._committed_at = time.perf_counter()

    def __exit__(self, *raised: Any) -> None:
        try:
            super().__exit__(*raised)
        finally:
            if self._done:  # a run that did nothing leaves no store behind
                start = time.perf_counter()
                self._commit()
                self.seconds += time.perf_counter() - start
            result, engine = self._result, self._engine
            result.how = dict(engine.how)
            result.stages = {**result.stages, **engine.seconds, "write": self.seconds}
            result.bottleneck = find_bottleneck(result.stages, engine.lanes)

    def _commit(self) -> None:
        self._sink.commit()
        self._committed_at = time.perf_counter()

    def _store(self, loaded: Loaded) -> None:
        job, record = loaded.job, loaded.job.record
        self._sink.how = {**self._recorded, **self._engine.how}
        self._done += 1
        if loaded.reason and job.stored:  # it could be used before, and its files are the same
            self._result.incomplete.append({"image": record.image, "reason": loaded.reason, "note": loaded.note})
            return
        known = self._sink.images.get(record.image)
        if known and known.identity[0] and known.identity != (job.sha256, job.mask_sha256):
            self._result.replaced += 1
        facts: dict[str, Any] = {**record_facts(record), "sha256": job.sha256, "mask_sha256": job.mask_sha256}
        facts.update(reason=loaded.reason, note=loaded.note, artefact=loaded.artefact)
        facts.update(source=loaded.source, mask=loaded.mask, look=loaded.look)
        cut = bool(loaded.keys or job.stored) and not loaded.reason
        facts.update(blobs=len(loaded.boxes), mpp=self._resolution(record) if cut else "")
        if loaded.keys and not loaded.reason:
            blobs, repeats = zip(*loaded.keys, strict=True)
            self._sink.add(record.image, blobs, repeats, np.stack(loaded.encoded), facts=facts, boxes=loaded.boxes)
        else:
            self._sink.register(record.image, **facts)
        self._result.computed += 0 if loaded.reason else len(loaded.keys)
        if time.perf_counter() - self._committed_at > COMMIT_SECONDS:
            self._commit()
        self._progress(Progress(self._done, self._total, self._result.computed))


def _nothing_usable(dataset: Dataset, result: Extraction) -> str:
    reasons = Counter(row["reason"] for row in result.rejected)
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return f"{dataset.root}: none of {len(dataset.records)} images can be used ({counted})"
