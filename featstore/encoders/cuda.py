"""Batches on a CUDA device: copied, encoded and copied back while the next ones are filled."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from featstore.encoders.base import Floats, Pixels, require
from featstore.encoders.model import ModelEncoder
from featstore.encoders.queue import in_pieces

__all__ = ["CudaQueue"]


@dataclass
class _Slot:
    """Page-locked memory of one batch, which the device reads and writes by itself, and the events of its way."""

    pixels: Any = field(repr=False)
    rows: Any = field(repr=False)
    events: tuple[Any, ...]
    count: int = 0


class CudaQueue:
    """Keeps the device busy: two batches wait for it or run while a third is filled.

    Copies to the device have a stream of their own, so that they run beside the model; nothing waits until `collect`.
    """

    depth = 2

    def __init__(self, encoder: ModelEncoder, batch_size: int) -> None:
        torch: Any = require("torch")
        self.limit = batch_size
        self.transfer_s = self.encode_s = 0.0
        self._running = encoder.running
        self._device = torch.device(self._running.device)
        side, dim = encoder.settings.input_size_px, encoder.settings.dim
        self._copying = torch.cuda.Stream(self._device)
        self._free = deque(self._slot(batch_size, side, dim) for _ in range(self.depth + 1))
        self._sent: deque[_Slot] = deque()

    @property
    def in_flight(self) -> int:
        """Batches submitted and not collected."""
        return len(self._sent)

    def buffer(self) -> Pixels:
        """Give the page-locked array to fill."""
        pixels: Pixels = self._free[0].pixels.numpy()
        return pixels

    def submit(self, count: int) -> None:
        """Send the first so many crops of the buffer on their way; returns before they are encoded."""
        torch: Any = require("torch")
        slot = self._free.popleft()
        slot.count = count
        left, arrived, begun, done = slot.events
        with torch.cuda.device(self._device):
            with torch.cuda.stream(self._copying):
                left.record()
                pixels = slot.pixels[:count].to(self._device, non_blocking=True)
                arrived.record()
            current = torch.cuda.current_stream()
            current.wait_event(arrived)
            pixels.record_stream(current)
            begun.record()
            rows, self.limit = in_pieces(self._running.embed, pixels, self.limit)
            slot.rows[:count].copy_(torch.cat(rows), non_blocking=True)
            done.record()
        self._sent.append(slot)

    def collect(self) -> Floats:
        """Wait for the oldest batch."""
        slot = self._sent.popleft()
        left, arrived, begun, done = slot.events
        done.synchronize()
        self.transfer_s += left.elapsed_time(arrived) / 1000
        self.encode_s += begun.elapsed_time(done) / 1000
        embeddings: Floats = slot.rows[: slot.count].numpy().copy()
        self._free.append(slot)
        return self._running.checked(embeddings)

    def _slot(self, batch_size: int, side: int, dim: int) -> _Slot:
        torch: Any = require("torch")
        events = tuple(torch.cuda.Event(enable_timing=True) for _ in range(4))
        pixels = torch.empty((batch_size, side, side, 3), dtype=torch.uint8, pin_memory=True)
        return _Slot(pixels, torch.empty((batch_size, dim), pin_memory=True), events)
