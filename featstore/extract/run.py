"""The run: loads images in worker processes, encodes their crops in batches, commits as it goes."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset import Dataset
from featstore.encoders import Encoder
from featstore.errors import DataError, FeatstoreError, SettingError
from featstore.extract.interrupts import Interrupts, interrupts_blocked
from featstore.extract.loader import Loaded, Loader, start_worker, work
from featstore.extract.plan import ImageJob, Repeats, plan_extraction, record_facts
from featstore.extract.sink import EmbeddingSink
from featstore.recipe import Recipe

__all__ = ["Extraction", "Progress", "extract"]

COMMIT_SECONDS = 30.0
"""At most this much work is lost to a kill; each commit is one more version of a few kilobytes."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: images done of those to do, and embeddings computed so far."""

    images: int
    of: int
    embeddings: int


@dataclass
class Extraction:
    """What a run did.

    Attributes
    ----------
    version : int
    images : int
        Images of the data that have embeddings.
    rejected : list of dict
        ``image``, ``reason`` and ``note`` of every image that has none.
    fallbacks : list of dict
        ``image``, ``source`` and ``note`` where blobs did not come from the mask.
    absent : list of str
        Images in the store that the data no longer hold; they stay.
    replaced : int
        Images whose content had changed.
    blobs : int
    computed : int
        Embeddings computed by this run.
    seconds : float
    stages : dict
        Seconds by stage, summed over processes.
    """

    version: int = 0
    images: int = 0
    rejected: list[dict[str, str]] = field(default_factory=list)
    fallbacks: list[dict[str, str]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    replaced: int = 0
    blobs: int = 0
    computed: int = 0
    seconds: float = 0.0
    stages: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


def extract(
    dataset: Dataset,
    encoder: Encoder,
    recipe: Recipe,
    sink: EmbeddingSink,
    *,
    repeats: Repeats,
    batch_size: int = 32,
    workers: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Extraction:
    """Compute every embedding of the data that the sink does not hold yet.

    What is finished is committed every `COMMIT_SECONDS`, and also when the run is interrupted or fails.

    Parameters
    ----------
    dataset : Dataset
    encoder : Encoder
    recipe : Recipe
        The one that the sink was made with.
    sink : EmbeddingSink
    repeats : Repeats
    batch_size : int
        Crops that go through the encoder together.
    workers : int
        Processes that load images; 0 loads them in this one.
    progress : callable, optional
        Called after each image.

    Returns
    -------
    Extraction

    Raises
    ------
    DataError
        If no image of the data can be used.
    FeatstoreError
        If a worker process was killed.
    """
    if batch_size < 1 or workers < 0:
        raise SettingError(f"batch size {batch_size}, {workers} workers", expected="1 or more, and 0 or more")
    started = time.perf_counter()
    result = Extraction()
    sink.how.update(encoder.how)
    plan = plan_extraction(dataset, sink, repeats)
    for record, facts in plan.settled:
        sink.register(record.image, **record_facts(record), **facts)
    run = _Run(encoder, sink, batch_size, result, progress, len(plan.jobs))
    with Interrupts() as interrupts:
        try:
            for loaded in _load(Loader(recipe, encoder), plan.jobs, workers, interrupts):
                run.take(loaded, interrupts)
            run.encode_rest(interrupts)
        except BrokenProcessPool as error:
            raise FeatstoreError(
                "a worker process was killed, most often for want of memory",
                remedy="What was finished is stored. Run the same command again, with fewer --workers.",
            ) from error
        finally:
            result.version = sink.commit()
    _summarise(result, dataset, sink)
    result.seconds = time.perf_counter() - started
    if not result.images:
        raise DataError(
            _nothing_usable(dataset, result), remedy="Look at the reasons, mend the data, and run it again."
        )
    return result


class _Run:
    """State of a run: crops that wait for the encoder, and images that wait for their embeddings."""

    def __init__(
        self,
        encoder: Encoder,
        sink: EmbeddingSink,
        batch_size: int,
        result: Extraction,
        progress: Callable[[Progress], None],
        total: int,
    ) -> None:
        self.encoder, self.sink, self.batch_size = encoder, sink, batch_size
        self.result, self.progress, self.total = result, progress, total
        self.done = 0
        self.waiting: deque[Loaded] = deque()
        self.crops: deque[tuple[Loaded, NDArray[np.uint8]]] = deque()
        self.committed_at = time.perf_counter()

    def take(self, loaded: Loaded, interrupts: Interrupts) -> None:
        """Take an image, and encode as many whole batches as are there."""
        for stage, seconds in loaded.seconds.items():
            self.result.stages[stage] += seconds
        self.waiting.append(loaded)
        self.crops.extend((loaded, crop) for crop in loaded.prepared)
        while len(self.crops) >= self.batch_size:
            interrupts.check()
            self._encode(self.batch_size)
        self._store_finished()

    def encode_rest(self, interrupts: Interrupts) -> None:
        """Encode what is left over, when no more images come."""
        interrupts.check()
        if self.crops:
            self._encode(len(self.crops))
        self._store_finished()

    def _encode(self, count: int) -> None:
        batch = [self.crops.popleft() for _ in range(count)]
        start = time.perf_counter()
        embeddings = self.encoder.encode([crop for _, crop in batch])
        for (loaded, _), embedding in zip(batch, embeddings, strict=True):
            loaded.encoded.append(embedding)
        self.result.stages["encode"] += time.perf_counter() - start

    def _store_finished(self) -> None:
        """Store images in the order in which they were loaded, as far as all their crops are encoded."""
        start = time.perf_counter()
        while self.waiting and len(self.waiting[0].encoded) == len(self.waiting[0].keys):
            self._store(self.waiting.popleft())
        if time.perf_counter() - self.committed_at > COMMIT_SECONDS:
            self.sink.commit()
            self.committed_at = time.perf_counter()
        self.result.stages["write"] += time.perf_counter() - start

    def _store(self, loaded: Loaded) -> None:
        job, record = loaded.job, loaded.job.record
        known = self.sink.images.get(record.image)
        if known and known.identity[0] and known.identity != (job.sha256, job.mask_sha256):
            self.result.replaced += 1
        facts: dict[str, Any] = {**record_facts(record), "sha256": job.sha256, "mask_sha256": job.mask_sha256}
        facts.update(reason=loaded.reason, note=loaded.note, artefact=loaded.artefact)
        facts.update(source=loaded.source, blobs=len(loaded.boxes))
        if loaded.keys:
            blobs, repeats = zip(*loaded.keys, strict=True)
            self.sink.add(record.image, blobs, repeats, np.stack(loaded.encoded), facts=facts, boxes=loaded.boxes)
        else:
            self.sink.register(record.image, **facts)
        self.result.computed += len(loaded.keys)
        self.done += 1
        self.progress(Progress(self.done, self.total, self.result.computed))


def _load(loader: Loader, jobs: Sequence[ImageJob], workers: int, interrupts: Interrupts) -> Iterator[Loaded]:
    """Load images in order, a bounded number of them ahead."""
    workers = min(workers, len(jobs))
    if workers == 0:
        for job in jobs:
            interrupts.check()
            yield loader(job)
        return
    context = multiprocessing.get_context("spawn")
    held, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, start_worker, (loader, held))
    try:
        ahead: deque[Future[Loaded]] = deque()
        for job in jobs:
            with interrupts_blocked() if not ahead else nullcontext():
                ahead.append(pool.submit(work, job))
            if len(ahead) > 2 * workers:
                yield _result(ahead.popleft(), interrupts)
        while ahead:
            yield _result(ahead.popleft(), interrupts)
        pool.shutdown()
    finally:
        lifeline.close()  # whatever a worker still does is not wanted any more
        pool.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[Loaded], interrupts: Interrupts) -> Loaded:
    """Wait for a result, and look up now and then."""
    while not future.done():
        interrupts.check()
        wait([future], timeout=0.2)
    return future.result()


def _summarise(result: Extraction, dataset: Dataset, sink: EmbeddingSink) -> None:
    for record in dataset.records:
        known = sink.images[record.image]
        if known.left_out:
            result.rejected.append({"image": record.image, "reason": known.left_out, "note": known.note})
            continue
        result.images += 1
        result.blobs += known.blobs
        if known.source != "mask" and record.mask_path:
            result.fallbacks.append({"image": record.image, "source": known.source, "note": known.note})
    result.absent = sorted(sink.images.keys() - {record.image for record in dataset.records})


def _nothing_usable(dataset: Dataset, result: Extraction) -> str:
    reasons = Counter(row["reason"] for row in result.rejected)
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return f"{dataset.root}: none of {len(dataset.records)} images can be used ({counted})"
