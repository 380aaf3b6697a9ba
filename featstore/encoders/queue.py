"""Batches on their way through an encoder: one is filled while others are encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol, TypeVar

import numpy as np

from featstore.encoders.base import Encoder, Floats, Pixels
from featstore.encoders.batch_size import find_batch_size, seconds_of_batches, usual_batch_size
from featstore.encoders.device import free_memory, is_out_of_memory
from featstore.encoders.model import ModelEncoder
from featstore.errors import EncoderError

__all__ = ["EncodeQueue", "PlainQueue", "encode_queue", "in_pieces"]


Rows = TypeVar("Rows")


class EncodeQueue(Protocol):
    """Takes batches of prepared crops and gives back their embeddings, the oldest batch first.

    Attributes
    ----------
    limit : int
        Crops that go through the encoder at once: the batch size, unless the device was too small for it.
    depth : int
        Batches that may be under way while another is filled.
    transfer_s, encode_s : float
        Seconds that batches took to reach the device, and on it.
    """

    limit: int
    depth: int
    transfer_s: float
    encode_s: float

    @property
    def in_flight(self) -> int:
        """Batches submitted and not collected."""

    def buffer(self) -> Pixels:
        """Give an array of shape (batch_size, side, side, 3) to fill, good until it is submitted."""

    def submit(self, count: int) -> None:
        """Encode the first so many crops of `buffer`."""

    def collect(self) -> Floats:
        """Wait for the oldest batch: ndarray of shape (count, dim), float32."""


def encode_queue(encoder: Encoder, batch_size: int | None = None) -> EncodeQueue:
    """Make the queue that suits an encoder's device; starts the encoder.

    Parameters
    ----------
    encoder : Encoder
        One that wants batches, of crops of one size.
    batch_size : int, optional
        Found by itself by default: see `find_batch_size`.

    Raises
    ------
    EncoderError
        If it takes crops of any size.
    """
    if encoder.settings.input_size_px < 1:
        raise EncoderError(
            f"{encoder.settings.name} wants batches and names no size of its input",
            expected="input_size_px above 0, or an encoder that runs in loader processes (in_worker)",
        )
    encoder.start()
    if isinstance(encoder, ModelEncoder) and encoder.running.device.startswith("cuda"):
        from featstore.encoders.cuda import CudaQueue

        return CudaQueue(encoder, batch_size or _found_on_cuda(encoder))
    device = encoder.running.device if isinstance(encoder, ModelEncoder) else "cpu"
    return PlainQueue(encoder, batch_size or usual_batch_size(device))


def _found_on_cuda(encoder: ModelEncoder) -> int:
    return find_batch_size(seconds_of_batches(encoder.running.embed, encoder.settings.input_size_px))


class PlainQueue:
    """Encodes a batch as soon as it is submitted: for the CPU, and for any encoder that can do no more than encode."""

    depth = 0

    def __init__(self, encoder: Encoder, batch_size: int) -> None:
        side = encoder.settings.input_size_px
        self.limit = batch_size
        self.transfer_s = self.encode_s = 0.0
        self._encoder = encoder
        self._buffer = np.empty((batch_size, side, side, 3), np.uint8)
        self._done: deque[Floats] = deque()

    @property
    def in_flight(self) -> int:
        """Batches submitted and not collected."""
        return len(self._done)

    def buffer(self) -> Pixels:
        """Give the array to fill."""
        return self._buffer

    def submit(self, count: int) -> None:
        """Encode the first so many crops of the buffer, now."""
        start = perf_counter()
        pieces, self.limit = in_pieces(self._encode, self._buffer[:count], self.limit)
        self._done.append(np.concatenate(pieces))
        self.encode_s += perf_counter() - start

    def collect(self) -> Floats:
        """Give the embeddings of the oldest batch."""
        return self._done.popleft()

    def _encode(self, crops: Pixels) -> Floats:
        return self._encoder.encode(list(crops))


def in_pieces(encode: Callable[[Any], Rows], crops: Any, limit: int) -> tuple[list[Rows], int]:
    """Encode crops, at most ``limit`` at once; what is too much for the device's memory is halved, again and again.

    Parameters
    ----------
    encode : callable
    crops : array or tensor of shape (n, side, side, 3)
    limit : int

    Returns
    -------
    pieces : list
        What ``encode`` returned.
    limit : int
        The one that did.

    Raises
    ------
    EncoderError
        If the memory does not suffice for a single crop.
    """
    pieces: list[Rows] = []
    start = 0
    while start < len(crops):
        try:
            pieces.append(encode(crops[start : start + limit]))
            start += limit
            continue
        except Exception as error:  # noqa: BLE001 - raised again, unless it is one of memory
            _require_smaller(error, limit)
        limit //= 2
        free_memory()  # here, where the failed call's own arrays are gone
    return pieces, limit


def _require_smaller(error: Exception, limit: int) -> None:
    """Raise the error again unless a smaller batch may help."""
    if not is_out_of_memory(error):
        raise error
    if limit == 1:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise EncoderError(
            f"the device has not enough memory for a single crop ({said})",
            remedy="End other programs that use it, or choose another with --device.",
        ) from error
