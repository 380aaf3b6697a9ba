"""Crops of several images in batches, several of which are under way: each embedding comes back to its image."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featstore.dataset import ImageRecord
from featstore.extract.loader import Loaded
from featstore.extract.pipeline import make_pipeline
from featstore.extract.plan import ImageJob


class Delayed:
    """Gives back what was submitted, as late as a device with several batches under way; buffers are used again."""

    transfer_s = encode_s = 0.0

    def __init__(self, batch: int, depth: int) -> None:
        self.limit, self.depth = batch, depth
        self.buffers = deque(np.zeros((batch, 1), np.int64) for _ in range(depth + 1))
        self.sent: deque[tuple[np.ndarray, int]] = deque()

    @property
    def in_flight(self) -> int:
        return len(self.sent)

    def buffer(self) -> np.ndarray:
        return self.buffers[0]

    def submit(self, count: int) -> None:
        self.sent.append((self.buffers.popleft(), count))

    def collect(self) -> np.ndarray:
        buffer, count = self.sent.popleft()
        rows = buffer[:count].astype(np.float32)
        buffer[:] = -1
        self.buffers.append(buffer)
        return rows


def images_of(counts: list[int]) -> list[Loaded]:
    records = [
        ImageRecord(f"{n}", f"{n}", n, Path(f"{n}.png"), None, "", "train", "", None, "", "")
        for n, _ in enumerate(counts)
    ]
    return [Loaded(ImageJob(record, "train", "0", "", (0,), frozenset())) for record in records]


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 7), st.integers(0, 3), st.booleans())
def test_every_embedding_comes_to_its_image_in_order(counts, batch, depth, late):
    finished: list[Loaded] = []
    pipeline = make_pipeline(Delayed(batch, depth), finished.append, lambda: None)
    images = images_of(counts)
    expected = {}
    number = iter(range(1000))
    for image, count in zip(images, counts, strict=True):
        expected[image.job.record.image] = [next(number) for _ in range(count)]
        for place, value in enumerate(expected[image.job.record.image]):
            image.keys.append((0, place))
            pipeline.take(image, np.array([value]))
        if not late:
            pipeline.loaded(image)
    for image in images if late else []:
        pipeline.loaded(image)
    pipeline.flush()
    assert Counter(image.job.record.image for image in finished) == Counter(list(expected))
    assert {image.job.record.image: [int(row[0]) for row in image.encoded] for image in finished} == expected
