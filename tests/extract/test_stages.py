"""The word on what a run waited for."""

from __future__ import annotations

from typing import ClassVar

import pytest

from featstore.extract import Setup, Station
from featstore.extract.stages import STAGES, Lanes, find_bottleneck
from featstore.recipe import Recipe

EVEN = dict.fromkeys(STAGES, 1.0)


@pytest.mark.parametrize(
    ("seconds", "lanes", "stage", "words"),
    [
        ({**EVEN, "encode": 50.0}, Lanes(cores=8, loaders=8, device="cuda"), "encode", "speed of the encoder"),
        ({**EVEN, "encode": 50.0}, Lanes(cores=8, loaders=1), "encode", "A GPU would help"),
        ({**EVEN, "encode": 50.0}, Lanes(cores=8, loaders=7, device="mps"), "encode", "speed of the encoder"),
        ({**EVEN, "decode": 99.0}, Lanes(cores=8, loaders=7, device="cuda"), "decode", "More cores"),
        ({**EVEN, "decode": 99.0}, Lanes(cores=8, encoders=2, loaders=4, device="cuda"), "decode", "were 2 for each"),
        ({**EVEN, "decode": 90.0}, Lanes(cores=8, loaders=2, device="cuda"), "decode", "More --workers"),
        ({**EVEN, "decode": 900.0}, Lanes(cores=8, loaders=8, device="cuda"), "decode", "More cores"),
        ({**EVEN, "encode": 50.0}, Lanes(cores=8, loaders=8, light=True), "encode", "More cores"),
        ({**EVEN, "encode": 50.0}, Lanes(cores=8, loaders=2, light=True), "encode", "More --workers"),
        ({**EVEN, "encode": 50.0}, Lanes(cores=2, encoders=2, light=True), "encode", "More cores"),
        ({**EVEN, "write": 50.0}, Lanes(cores=8, loaders=2, device="cuda"), "write", "faster disk"),
        ({"augment": 3.0, "encode": 2.0, "write": 0.1}, Lanes(cores=8), "augment", "More cores"),
    ],
)
def test_the_slowest_lane_is_named_and_what_to_change(seconds, lanes, stage, words):
    found = find_bottleneck(seconds, lanes)
    assert found.stage == stage
    assert words in found.advice
    assert 0 < found.share <= 1


def test_processes_side_by_side_share_their_seconds():
    """Forty seconds of loading in eight processes are five; ten of encoding are the bottleneck then."""
    seconds = {"decode": 20.0, "augment": 20.0, "encode": 10.0}
    assert find_bottleneck(seconds, Lanes(cores=8, loaders=8)).stage == "encode"
    assert find_bottleneck(seconds, Lanes(cores=8, loaders=2)).stage in ("decode", "augment")
    assert find_bottleneck(seconds, Lanes(cores=8, loaders=8, encoders=4)).stage in ("decode", "augment")


def test_nothing_was_done():
    assert find_bottleneck({}, Lanes(cores=8)) is None
    assert find_bottleneck({"write": 0.0}, Lanes(cores=8, loaders=3)) is None


def test_copies_to_a_gpu_go_beside_the_model():
    seconds = {"decode": 8.0, "transfer": 7.0, "encode": 7.0}
    assert find_bottleneck(seconds, Lanes(loaders=1, cores=8, device="cuda")).stage == "decode"
    assert find_bottleneck(seconds, Lanes(loaders=1, cores=8)).stage in ("transfer", "encode")


@pytest.mark.parametrize(
    ("told", "kind"), [("mps (Apple silicon)", "mps"), ("cuda:1 (NVIDIA H100)", "cuda"), ("cpu", "cpu")]
)
def test_the_kind_of_device_is_read_from_what_encoders_tell(told, kind, stain_texture):
    class There:
        in_worker = False
        how: ClassVar = {"device": told}
        prepare = stain_texture.prepare

    assert Station(Setup(Recipe(stain_texture.settings), There())).lanes.device == kind
