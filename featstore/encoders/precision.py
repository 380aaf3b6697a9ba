"""Which precision a model computes in, where that is left to it: by trial, on pictures that are always the same.

A half precision is taken only where its embeddings are all but those of float32. What was tried is recorded beside the
recipe, because on a CPU the choice hangs on a measurement, and another machine may choose otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from featstore.encoders.base import Floats, Pixels, require

__all__ = [
    "LEAST_COSINE",
    "LEAST_SPEED",
    "Choice",
    "Trial",
    "choose_fast_half",
    "choose_near_half",
    "choose_precision",
    "least_cosine",
    "multiplies_bfloat16",
    "probe_pictures",
]

LEAST_COSINE = 0.999
"""Of a half precision's embeddings with those of float32; models of random weights reach 0.9999 in bfloat16."""

LEAST_SPEED = 1.25
"""How many times as fast as float32 bfloat16 must be: 2 to 4 are usual, so that no busy moment tips the balance."""

_PICTURES_CUDA, _PICTURES_CPU = 16, 4
_PASSES = 2
_PRODUCTS = 10

_FALLBACK = 2.0
"""How many times as slow as float32 torch's own loops for bfloat16 are at least."""

Embed = Callable[[str], Floats]
"""Embeds the same pictures in a precision."""


@dataclass(frozen=True)
class Choice:
    """A precision, and what is recorded of how it was chosen.

    Attributes
    ----------
    precision : str
    how : mapping of str to str
        ``precision_trial``: the least cosine of each precision that was tried with float32. Seconds are left out, so
        that two runs on one machine record the same. Empty where nothing was tried.
    """

    precision: str
    how: Mapping[str, str] = field(default_factory=dict)


class Trial(Protocol):
    """A model in memory in float32, as `choose_precision` needs it."""

    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def processor(self) -> Any: ...  # noqa: D102
    def in_precision(self, precision: str) -> Self:
        """Copy the model in another precision."""

    def embed(self, pixels: Any) -> Any:
        """Embed a uint8 tensor (n, side, side, 3)."""


def choose_precision(wanted: str, whole: Trial) -> Choice:
    """Choose the precision of a model.

    Parameters
    ----------
    wanted : str
        ``auto``: on CUDA the half precision that is nearer to float32; on a CPU bfloat16 where the processor has it and
        it is faster; else float32. Anything else is taken as it is.
    whole : Trial
        The model in float32, on its device.

    Returns
    -------
    Choice
    """
    if wanted != "auto":
        return Choice(wanted)
    if whole.device.startswith("cuda"):
        return choose_near_half(_embed(whole, _PICTURES_CUDA))
    if whole.device == "cpu" and multiplies_bfloat16():
        return choose_fast_half(_embed(whole, _PICTURES_CPU))
    return Choice("float32")


def choose_near_half(embed: Embed) -> Choice:
    """Take float16 or bfloat16, whichever is nearer to float32; float32 where neither is near enough.

    float16 has eight times the resolution of bfloat16, but overflows above 65,504, as activations of some models do.
    """
    whole = embed("float32")
    cosines = {half: _tried(embed, half, whole) for half in ("float16", "bfloat16")}
    best = max(cosines, key=lambda half: cosines[half])
    return Choice(best if cosines[best] >= LEAST_COSINE else "float32", _told(cosines))


def _tried(embed: Embed, half: str, whole: Floats) -> float:
    """Tell the least cosine; -1 where the device can't compute in this precision at all."""
    try:
        return least_cosine(embed(half), whole)
    except RuntimeError:
        return -1.0


def choose_fast_half(embed: Embed, clock: Callable[[], float] = perf_counter) -> Choice:
    """Take bfloat16 if it is clearly faster than float32 and near enough; each is run in turn, its faster pass counts.

    Parameters
    ----------
    embed : callable
    clock : callable
        Tells seconds.
    """
    cosine, whole = -1.0, np.zeros((0, 0), np.float32)
    seconds = dict.fromkeys(("float32", "bfloat16"), float("inf"))
    for _ in range(_PASSES):
        start = clock()
        whole = embed("float32")
        between = clock()
        cosine = _tried(embed, "bfloat16", whole)
        for precision, spent in (("float32", between - start), ("bfloat16", clock() - between)):
            seconds[precision] = min(seconds[precision], spent)
    taken = cosine >= LEAST_COSINE and seconds["bfloat16"] * LEAST_SPEED <= seconds["float32"]
    return Choice("bfloat16" if taken else "float32", _told({"bfloat16": cosine}))


def multiplies_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16, AMX, Arm's BF16) and torch makes use of it.

    A small product is timed as well, because torch's fallback is so slow that trying it on a model could take minutes;
    the quickest of many counts, in turn with float32, so that other programs have no say.
    oneDNN's own answer is no help: it says yes wherever it can emulate.
    """
    torch: Any = require("torch")
    has: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch doesn't tell
    if not any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16")):
        return False
    seconds = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    for _ in range(_PRODUCTS):
        for kind, least in seconds.items():
            seconds[kind] = min(least, _seconds_of_product(kind))
    return seconds[torch.bfloat16] <= _FALLBACK * seconds[torch.float32]


def _seconds_of_product(kind: Any) -> float:
    torch: Any = require("torch")
    one, other = torch.ones((64, 1024), dtype=kind), torch.ones((1024, 1024), dtype=kind)
    start = perf_counter()
    torch.nn.functional.linear(one, other)
    return perf_counter() - start


def least_cosine(rows: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Tell the least cosine of two arrays of embeddings, row by row; -1 where a number is not finite or a row is 0."""
    one, other = rows.astype(np.float64), others.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (one * other).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
    return float(np.where(np.isfinite(cosines), cosines, -1.0).min())


def probe_pictures(count: int, side_px: int) -> Pixels:
    """Make pictures of blots and grain, the same ones every time, each of its own colour.

    Returns
    -------
    ndarray of shape (count, side_px, side_px, 3), uint8
    """
    rng = np.random.default_rng(0)
    pictures = rng.uniform(90.0, 220.0, (count, 1, 1, 3)) + rng.normal(0.0, 6.0, (count, side_px, side_px, 3))
    for cells in (3, 12, 48):
        places = np.arange(side_px) * cells // side_px
        blots = rng.normal(0.0, 20.0, (count, cells, cells, 3))
        pictures += blots[:, places][:, :, places]
    return np.clip(pictures, 0, 255).astype(np.uint8)


def _embed(whole: Trial, count: int) -> Embed:
    """Embed pictures in any precision, keeping the model in the last half precision: the next pass needs it again."""
    torch: Any = require("torch")
    pixels = torch.from_numpy(probe_pictures(count, whole.processor.size_px))
    made: dict[str, Trial] = {"float32": whole}

    def embed(precision: str) -> Floats:
        if precision not in made:
            made.clear()
            made.update({"float32": whole, precision: whole.in_precision(precision)})
        rows: Floats = made[precision].embed(pixels).cpu().numpy()
        return rows

    return embed


def _told(cosines: Mapping[str, float]) -> dict[str, str]:
    said = ", ".join(f"{precision} {cosine:.7f}" for precision, cosine in cosines.items())
    return {"precision_trial": f"least cosine with float32: {said}"}
