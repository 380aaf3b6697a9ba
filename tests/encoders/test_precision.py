"""A half precision is taken where its embeddings are those of float32, and on a CPU where it is faster as well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar

import numpy as np
import pytest
import torch

from featstore.encoders.precision import (
    LEAST_COSINE,
    choose_fast_half,
    choose_near_half,
    choose_precision,
    least_cosine,
    multiplies_bfloat16,
    probe_pictures,
)
from featstore.encoders.processor import Processor

EXACT = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)


def off(by: float) -> np.ndarray:
    return EXACT + np.random.default_rng(1).normal(scale=by, size=EXACT.shape).astype(np.float32)


def test_the_nearer_half_is_taken():
    choice = choose_near_half({"float32": EXACT, "float16": off(1e-4), "bfloat16": off(1e-3)}.__getitem__)
    assert choice.precision == "float16"
    choice = choose_near_half({"float32": EXACT, "float16": off(1e-3), "bfloat16": off(1e-4)}.__getitem__)
    assert choice.precision == "bfloat16"
    assert "float16" in choice.how["precision_trial"]


def test_float16_that_overflows_is_out():
    broken = EXACT.copy()
    broken[2, 5] = np.inf
    choice = choose_near_half({"float32": EXACT, "float16": broken, "bfloat16": off(1e-3)}.__getitem__)
    assert choice.precision == "bfloat16"
    assert "float16 -1" in choice.how["precision_trial"]


def test_float32_where_no_half_is_near():
    rows = {"float32": EXACT, "float16": EXACT * np.nan, "bfloat16": off(1.0)}
    assert least_cosine(rows["bfloat16"], EXACT) < LEAST_COSINE
    assert choose_near_half(rows.__getitem__).precision == "float32"


@dataclass
class Paced:
    """Embeds in so many seconds of a clock of its own."""

    seconds: dict[str, float]
    bfloat16: np.ndarray
    now: float = 0.0

    def embed(self, precision: str) -> np.ndarray:
        self.now += self.seconds[precision]
        return EXACT if precision == "float32" else self.bfloat16

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "error", "chosen"),
    [
        (0.5, 1e-3, "bfloat16"),
        (0.79, 1e-3, "bfloat16"),
        (0.85, 1e-3, "float32"),
        (3.0, 1e-3, "float32"),
        (0.1, 1.0, "float32"),
        (0.1, np.nan, "float32"),
    ],
)
def test_on_a_cpu_it_must_be_near_and_clearly_faster(seconds: float, error: float, chosen: str):
    paced = Paced({"float32": 1.0, "bfloat16": seconds}, off(error) if error == error else EXACT * np.nan)
    assert choose_fast_half(paced.embed, paced.clock).precision == chosen


def test_one_busy_moment_tips_no_balance():
    pace = iter([1.0, 5.0, 1.0, 0.4])  # the first pass in bfloat16 met another program
    paced = Paced({}, off(1e-3))

    def embed(precision: str) -> np.ndarray:
        paced.now += next(pace)
        return EXACT

    assert choose_fast_half(embed, paced.clock).precision == "bfloat16"


def test_a_network_that_the_cpu_can_not_run_in_bfloat16_stays_in_float32():
    def embed(precision: str) -> np.ndarray:
        if precision == "bfloat16":
            raise RuntimeError('"some_kernel" not implemented for BFloat16')
        return EXACT

    choice = choose_fast_half(embed)
    assert choice.precision == "float32"
    assert "bfloat16 -1" in choice.how["precision_trial"]


def test_what_is_recorded_is_the_same_in_every_run():
    ticks = count(step=0.37)
    rows = {"float32": EXACT, "bfloat16": off(1e-3)}
    one, two = (choose_fast_half(rows.__getitem__, lambda: next(ticks)) for _ in range(2))
    assert one.how == two.how


@dataclass(frozen=True)
class Linear:
    """A model in memory, as small as they get."""

    device: str
    precision: str = "float32"
    processor: ClassVar[Processor] = Processor(size_px=8)

    def in_precision(self, precision: str) -> Linear:
        return replace(self, precision=precision)

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        kind = getattr(torch, self.precision)
        weights = torch.randn(8 * 8 * 3, 16, generator=torch.Generator().manual_seed(0)).to(kind)
        return (pixels.flatten(1).to(kind) @ weights).float()


def test_what_was_asked_for_is_taken_untried():
    choice = choose_precision("float16", Linear("cpu"))
    assert (choice.precision, choice.how) == ("float16", {})


def test_apple_silicon_stays_with_float32():
    assert choose_precision("auto", Linear("mps")).precision == "float32"


def test_a_model_is_tried_on_the_pictures():
    choice = choose_precision("auto", Linear("cuda:0"))
    assert choice.precision == "float16"  # whose steps are finer
    assert "bfloat16 0.9999" in choice.how["precision_trial"]


@pytest.mark.parametrize("has", [True, False])
def test_on_a_cpu_one_of_the_two_is_taken(monkeypatch, has: bool):
    """What this CPU has is measured, and may be another thing a moment later where it is busy."""
    assert multiplies_bfloat16() in (True, False)
    monkeypatch.setattr("featstore.encoders.precision.multiplies_bfloat16", lambda: has)
    choice = choose_precision("auto", Linear("cpu"))
    assert choice.precision in (("float32", "bfloat16") if has else ("float32",))
    assert bool(choice.how) == has


def test_a_processor_without_bfloat16_is_not_tried(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", "avx2": True}, raising=False)
    assert not multiplies_bfloat16()
    assert choose_precision("auto", Linear("cpu")).how == {}


def test_the_pictures_are_the_same_every_time_and_unlike_each_other():
    pictures = probe_pictures(4, 30)
    assert pictures.dtype == np.uint8
    assert pictures.shape == (4, 30, 30, 3)
    assert (pictures == probe_pictures(4, 30)).all()
    flat = pictures.reshape(4, -1).astype(float)
    assert (flat.std(axis=1) > 10).all()
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.9


def test_least_cosine():
    assert least_cosine(EXACT, 2 * EXACT) == pytest.approx(1)
    turned = EXACT.copy()
    turned[1] *= -1
    assert least_cosine(EXACT, turned) == pytest.approx(-1)
    assert least_cosine(EXACT, np.zeros_like(EXACT)) == -1
