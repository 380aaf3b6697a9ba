"""The device and precision that were asked for, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featstore.encoders.device import (
    free_memory,
    is_out_of_memory,
    require_known,
    resolve_device,
    usable_devices,
)
from featstore.errors import SettingError


def test_the_cpu_is_always_there_and_last():
    assert usable_devices()[-1][0] == "cpu"
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == usable_devices()[0][0]


def test_the_best_kind_first(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [device for device, _ in usable_devices()] == ["cuda:0", "cuda:1", "mps", "cpu"]
    assert resolve_device("auto") == resolve_device("cuda") == "cuda:0"
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(SettingError, match="cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", "cuda:-1", "meta"])
def test_a_device_that_is_not_there_lists_those_that_are(device):
    with pytest.raises(SettingError, match="cpu"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3", "mps"])
@pytest.mark.parametrize("precision", ["auto", "float32", "float16", "bfloat16"])
def test_words_for_what_is_to_be_had_somewhere(device: str, precision: str):
    require_known(device, precision)


@pytest.mark.parametrize(("device", "precision"), [("gpu", "auto"), ("cuda:", "auto"), ("", "auto"), ("cpu", "half")])
def test_words_for_nothing(device: str, precision: str):
    with pytest.raises(SettingError, match="expected"):
        require_known(device, precision)


def too_much_of_numpy():
    np.ones(1 << 50, np.uint8)


def too_much_of_torch():
    torch.ones(1 << 50, dtype=torch.uint8)


def cuda():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of")


def mps():
    raise RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GB, other allocations: 1.21 GB, max allowed: ")


def cublas():
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def told_plainly():
    try:
        mps()
    except RuntimeError as error:
        raise SettingError("the model can't embed a picture") from error


@pytest.mark.parametrize("ask", [too_much_of_numpy, too_much_of_torch, cuda, mps, cublas, told_plainly])
def test_too_little_memory_is_known_for_what_it_is(ask):
    with pytest.raises(Exception) as raised:
        ask()
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("device-side assert triggered"), OSError("out of memory"), ValueError("bad value")]
)
def test_other_errors_are_not_taken_for_it(error: Exception):
    assert not is_out_of_memory(error)


def test_memory_is_given_back_on_any_machine():
    free_memory()
