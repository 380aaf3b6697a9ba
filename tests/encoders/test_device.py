"""The device and precision that were asked for, or a refusal."""

from __future__ import annotations

import pytest
import torch

from featstore.encoders.device import resolve_device, resolve_precision, usable_devices
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


def test_precision():
    assert resolve_precision("auto", "cuda:0") == "float16"
    assert resolve_precision("auto", "cpu") == resolve_precision("auto", "mps") == "float32"
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"
    with pytest.raises(SettingError, match="bfloat16"):
        resolve_precision("half", "cpu")
