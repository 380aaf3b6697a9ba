"""Batches keep their order, and what is too much for the memory is halved until it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from featstore.encoders import encode_queue, load_encoder
from featstore.encoders.batch_size import usual_batch_size
from featstore.encoders.queue import PlainQueue, in_pieces
from featstore.errors import EncoderError
from featstore.recipe import EncoderSettings

SIDE = 4
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


@dataclass
class Small:
    """An encoder whose memory holds so many crops; the embedding of a crop is what it is filled with."""

    memory: int = 10**6
    error: Callable[[], Exception] = lambda: torch.OutOfMemoryError(FULL)
    settings: EncoderSettings = field(default_factory=lambda: EncoderSettings("small", dim=1, input_size_px=SIDE))
    in_worker: bool = False
    sizes: list[int] = field(default_factory=list)
    starts: int = 0

    def start(self) -> None:
        self.starts += 1

    def encode(self, prepared) -> np.ndarray:
        self.sizes.append(len(prepared))
        if len(prepared) > self.memory:
            raise self.error()
        return np.array([[crop[0, 0, 0]] for crop in prepared], np.float32)


def crops(count: int, first: int = 0) -> np.ndarray:
    numbers = np.arange(first, first + count, dtype=np.uint8)
    return np.broadcast_to(numbers[:, None, None, None], (count, SIDE, SIDE, 3))


def send(queue: PlainQueue, batch: np.ndarray) -> None:
    queue.buffer()[: len(batch)] = batch
    queue.submit(len(batch))


def rows(pieces: list[np.ndarray]) -> list[int]:
    return np.concatenate(pieces)[:, 0].astype(int).tolist()


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 23])
@pytest.mark.parametrize("limit", [1, 3, 8, 100])
def test_nothing_is_lost_or_reordered(count: int, limit: int):
    encoder = Small()
    pieces, after = in_pieces(encoder.encode, crops(count), limit)
    assert after == limit
    assert max(encoder.sizes, default=0) <= limit
    assert [int(row) for piece in pieces for row in piece[:, 0]] == list(range(count))


@pytest.mark.parametrize("memory", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("limit", [8, 23, 64])
def test_what_does_not_fit_is_halved_until_it_does(memory: int, limit: int):
    pieces, after = in_pieces(Small(memory).encode, crops(23), limit)
    assert rows(pieces) == list(range(23))
    assert after == next(limit >> times for times in range(7) if limit >> times <= memory)


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError(FULL),
        lambda: MemoryError(),
        lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        lambda: RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    ],
)
def test_every_way_to_run_out_of_memory_is_known(error: Callable[[], Exception]):
    pieces, after = in_pieces(Small(3, error).encode, crops(10), 8)
    assert rows(pieces) == list(range(10))
    assert after == 2


def test_memory_that_ends_later_costs_nothing_that_was_done():
    encoder, seen = Small(), []

    def encode(batch: np.ndarray) -> np.ndarray:
        encoder.memory = 10**6 if len(seen) < 2 else 1  # another program took the rest
        done = encoder.encode(batch)
        seen.append(len(batch))
        return done

    pieces, after = in_pieces(encode, crops(16), 4)
    assert rows(pieces) == list(range(16))
    assert seen == [4, 4, *[1] * 8]
    assert after == 1


def test_a_single_crop_too_many_is_said_plainly():
    with pytest.raises(EncoderError, match="not enough memory for a single crop") as refused:
        in_pieces(Small(0).encode, crops(5), 4)
    assert FULL in str(refused.value)
    assert "--device" in str(refused.value)
    assert isinstance(refused.value.__cause__, torch.OutOfMemoryError)


def test_an_error_without_a_message_is_said_as_well():
    with pytest.raises(EncoderError, match=r"single crop \(MemoryError\)"):
        in_pieces(Small(0, MemoryError).encode, crops(1), 1)


@pytest.mark.parametrize("error", [RuntimeError("device-side assert triggered"), EncoderError("not finite")])
def test_other_errors_are_raised_as_they_are(error: Exception):
    encoder = Small(0, lambda: error)
    with pytest.raises(type(error)) as raised:
        in_pieces(encoder.encode, crops(5), 4)
    assert raised.value is error
    assert encoder.sizes == [4]


def test_batches_come_back_in_their_order():
    queue = PlainQueue(Small(), 4)
    assert queue.buffer().shape == (4, SIDE, SIDE, 3)
    for first in (0, 4, 8):
        send(queue, crops(4, first))
    send(queue, crops(2, 12))
    assert queue.in_flight == 4
    found = [queue.collect() for _ in range(4)]
    assert [len(batch) for batch in found] == [4, 4, 4, 2]
    assert all(batch.dtype == np.float32 for batch in found)
    assert rows(found) == list(range(14))
    assert queue.in_flight == 0
    assert queue.encode_s > 0
    assert queue.transfer_s == 0


def test_the_limit_stays_lowered():
    encoder = Small(memory=3)
    queue = PlainQueue(encoder, 8)
    send(queue, crops(8))
    assert queue.limit == 2
    assert queue.buffer().shape[0] == 8
    encoder.sizes.clear()
    send(queue, crops(8, 8))
    assert encoder.sizes == [2, 2, 2, 2]
    assert rows([queue.collect(), queue.collect()]) == list(range(16))


def test_an_encoder_is_started_and_gets_the_batch_size_asked_for():
    encoder = Small()
    queue = encode_queue(encoder, 5)
    assert (encoder.starts, queue.limit, len(queue.buffer())) == (1, 5, 5)
    assert encode_queue(encoder).limit == usual_batch_size("cpu")


def test_a_model_on_apple_silicon_gets_batches_that_suit_it(small, monkeypatch):
    encoder = load_encoder("phikon-v2", weights=small, device="cpu")
    monkeypatch.setattr(encoder, "_running", replace(encoder.running, device="mps"))
    queue = encode_queue(encoder)
    assert isinstance(queue, PlainQueue)
    assert queue.limit == usual_batch_size("mps")


def test_an_encoder_of_crops_of_any_size_has_no_queue():
    encoder = Small(settings=EncoderSettings("any-size", dim=1, input_size_px=0))
    with pytest.raises(EncoderError, match="any-size wants batches and names no size"):
        encode_queue(encoder)
    assert encoder.starts == 0


def test_a_model_goes_through_the_queue_unchanged(small, random_crop):
    encoder = load_encoder("phikon-v2", weights=small, device="cpu", precision="float32")
    pixels = np.stack([random_crop(56, seed) for seed in range(11)])
    queue = encode_queue(encoder, 4)
    for first in range(0, 11, 4):
        send(queue, pixels[first : first + 4])
    found = np.concatenate([queue.collect() for _ in range(3)])
    np.testing.assert_allclose(found, encoder.encode(list(pixels)), rtol=0, atol=1e-5)
