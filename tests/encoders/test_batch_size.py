"""The batch grows for as long as it pays and fits."""

from __future__ import annotations

import pytest
import torch

from featstore.encoders.batch_size import SIZES, find_batch_size, seconds_of_batches, usual_batch_size


def device(*, full_at: int, memory: int = 10**6):
    """Crops run side by side up to ``full_at`` of them; more than ``memory`` don't fit."""

    def seconds(size: int) -> float:
        if size > memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return max(size, full_at) / 1000

    return seconds


def test_it_stops_where_the_device_is_full():
    assert find_batch_size(device(full_at=64)) == 64
    assert find_batch_size(device(full_at=1)) == SIZES[0]
    assert find_batch_size(device(full_at=10**6)) == SIZES[-1]


def test_it_stops_before_the_memory_ends():
    assert find_batch_size(device(full_at=512, memory=100)) == 64
    assert find_batch_size(device(full_at=512, memory=4)) == 1


def test_a_gain_that_is_none_is_not_followed():
    rates = {8: 100.0, 16: 180.0, 32: 185.0, 64: 400.0}
    assert find_batch_size(lambda size: size / rates[size], sizes=tuple(rates)) == 16


def test_other_errors_are_raised():
    def broken(size: int) -> float:
        raise RuntimeError("device-side assert triggered")

    with pytest.raises(RuntimeError, match="assert"):
        find_batch_size(broken)


def test_batches_are_timed():
    sizes = []

    def embed(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(pixels.shape))
        return pixels.float().mean(dim=(1, 2))

    assert seconds_of_batches(embed, side_px=6)(3) > 0
    assert set(sizes) == {(3, 6, 6, 3)}


def test_usual_sizes():
    assert usual_batch_size("mps") == 16
    assert 8 <= usual_batch_size("cpu") <= 64
