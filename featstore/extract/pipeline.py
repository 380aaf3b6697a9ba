"""Crops of many images through the encoder in full batches, and back to their images."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from featstore.encoders import EncodeQueue
from featstore.extract.loader import Loaded

__all__ = ["Pipeline", "make_pipeline"]


class Pipeline:
    """Gathers what loaders make of each image, and hands on images that are finished.

    This one takes embeddings that a light encoder has made in the loader already.

    Parameters
    ----------
    finished : callable
        Takes an image as soon as all its embeddings are there.
    """

    def __init__(self, finished: Callable[[Loaded], None]) -> None:
        self._finished = finished
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage, those of the loaders included."""
        return dict(self._seconds)

    def take(self, image: Loaded, item: NDArray[Any]) -> None:
        """Take what the loader made of an image's next crop."""
        image.encoded.append(item)

    def loaded(self, image: Loaded) -> None:
        """Note that an image has no more crops to come."""
        for stage, seconds in image.seconds.items():
            self._seconds[stage] += seconds
        image.is_loaded = True
        self._hand_on(image)

    def flush(self) -> None:
        """Finish what is under way, when no more images come."""

    def _hand_on(self, image: Loaded) -> None:
        if image.is_loaded and len(image.encoded) == len(image.keys):
            self._finished(image)


class _BatchPipeline(Pipeline):
    """Takes prepared crops and fills batches with them, whichever image they are of."""

    def __init__(self, finished: Callable[[Loaded], None], queue: EncodeQueue, check: Callable[[], None]) -> None:
        super().__init__(finished)
        self._queue, self._check = queue, check
        self._filling: list[Loaded] = []
        self._sent: deque[list[Loaded]] = deque()

    def take(self, image: Loaded, item: NDArray[Any]) -> None:
        """Take an image's next crop as it was prepared."""
        start = time.perf_counter()
        buffer = self._queue.buffer()
        buffer[len(self._filling)] = item
        self._filling.append(image)
        self._seconds["transfer"] += time.perf_counter() - start
        if len(self._filling) == len(buffer):
            self._submit()

    def flush(self) -> None:
        """Encode what is left over."""
        if self._filling:
            self._submit()
        while self._sent:
            self._collect()

    def _submit(self) -> None:
        self._check()
        self._queue.submit(len(self._filling))
        self._sent.append(self._filling)
        self._filling = []
        while self._queue.in_flight > self._queue.depth:
            self._collect()

    def _collect(self) -> None:
        rows, images = self._queue.collect(), self._sent.popleft()
        for image, row in zip(images, rows, strict=True):
            image.encoded.append(row)
        for image in dict.fromkeys(images):
            self._hand_on(image)


def make_pipeline(queue: EncodeQueue | None, finished: Callable[[Loaded], None], check: Callable[[], None]) -> Pipeline:
    """Make the pipeline that suits an encoder.

    Parameters
    ----------
    queue : EncodeQueue or None
        Of the encoder; None for a light one, which encodes in the loader.
    finished : callable
        Takes an image as soon as all its embeddings are there.
    check : callable
        Called before each batch; raises to end the run.
    """
    return Pipeline(finished) if queue is None else _BatchPipeline(finished, queue, check)
