"""The run: loads images in worker processes, encodes their crops in batches, commits as it goes."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.dataset import Dataset
from featstore.encoders import Encoder
from featstore.errors import DataError, FeatstoreError, SettingError
from featstore.extract.loader import Loaded, Loader, start_worker, work
from featstore.extract.plan import ImageJob, Repeats, left_out, plan_extraction, record_facts
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
    try:
        loader = Loader(recipe, encoder)
        for loaded in _load(loader, plan.jobs, workers):
            run.take(loaded)
        run.encode_rest()
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
        self.crops: deque[NDArray[np.uint8]] = deque()
        self.encoded: list[NDArray[np.float32]] = []
        self.committed_at = time.perf_counter()

    def take(self, loaded: Loaded) -> None:
        """Take an image, and encode as many whole batches as are there."""
        for stage, seconds in loaded.seconds.items():
            self.result.stages[stage] += seconds
        self.waiting.append(loaded)
        self.crops.extend(loaded.prepared)
        while len(self.crops) >= self.batch_size:
            self._encode(self.batch_size)
        self._store_finished()

    def encode_rest(self) -> None:
        """Encode what is left over, when no more images come."""
        if self.crops:
            self._encode(len(self.crops))
        self._store_finished()

    def _encode(self, count: int) -> None:
        batch = [self.crops.popleft() for _ in range(count)]
        start = time.perf_counter()
        self.encoded.extend(self.encoder.encode(batch))
        self.result.stages["encode"] += time.perf_counter() - start

    def _store_finished(self) -> None:
        """Store images in the order in which they were loaded, as far as all their crops are encoded."""
        start = time.perf_counter()
        while self.waiting:
            head = self.waiting[0]
            if head.embeddings is None and head.prepared:
                if len(self.encoded) < len(head.prepared):
                    break
                count = len(head.prepared)
                head.embeddings, self.encoded = np.stack(self.encoded[:count]), self.encoded[count:]
            self._store(self.waiting.popleft())
        if time.perf_counter() - self.committed_at > COMMIT_SECONDS:
            self.sink.commit()
            self.committed_at = time.perf_counter()
        self.result.stages["write"] += time.perf_counter() - start

    def _store(self, loaded: Loaded) -> None:
        job, record = loaded.job, loaded.job.record
        facts: dict[str, Any] = record_facts(record)
        if loaded.reason:
            identity = (job.sha256, job.mask_sha256)
            self.sink.register(record.image, **facts, **left_out(loaded.reason, loaded.note, identity))
        else:
            facts.update(source=loaded.source, blobs=len(loaded.boxes), note=loaded.note)
            facts.update(sha256=job.sha256, mask_sha256=job.mask_sha256)
            blobs, repeats = zip(*loaded.keys, strict=True) if loaded.keys else ((), ())
            embeddings = np.zeros((0, self.encoder.settings.dim)) if loaded.embeddings is None else loaded.embeddings
            self.sink.add(record.image, blobs, repeats, embeddings, facts=facts, boxes=loaded.boxes)
            self.result.computed += len(loaded.keys)
        self.done += 1
        self.progress(Progress(self.done, self.total, self.result.computed))


def _load(loader: Loader, jobs: Iterable[ImageJob], workers: int) -> Iterator[Loaded]:
    """Load images in order, a bounded number of them ahead."""
    jobs = list(jobs)
    workers = min(workers, len(jobs))
    if workers == 0:
        yield from map(loader, jobs)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker, (loader,))
    try:
        ahead: deque[Future[Loaded]] = deque()
        for job in jobs:
            ahead.append(pool.submit(work, job))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _summarise(result: Extraction, dataset: Dataset, sink: EmbeddingSink) -> None:
    for record in dataset.records:
        known = sink.images[record.image]
        if known.reason:
            result.rejected.append({"image": record.image, "reason": known.reason, "note": known.note})
            continue
        result.images += 1
        result.blobs += known.blobs
        if known.source != "mask" and record.mask_path:
            result.fallbacks.append({"image": record.image, "source": known.source, "note": known.note})


def _nothing_usable(dataset: Dataset, result: Extraction) -> str:
    reasons = Counter(row["reason"] for row in result.rejected)
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return f"{dataset.root}: none of {len(dataset.records)} images can be used ({counted})"
