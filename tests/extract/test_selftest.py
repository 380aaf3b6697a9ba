"""The self-test: crops that are the same everywhere, and what it says where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from featstore.errors import ImageError
from featstore.extract import loader, selftest
from featstore.extract.made_up import make_crops
from featstore.extract.selftest import (
    GOLDEN,
    REFERENCE,
    REPEATS,
    check_embeddings,
    check_pixels,
    digest_of,
    environment,
    renewed,
)
from featstore.recipe import AugmentationSettings

PLAIN = "1f4e7f55e0dafabae156d2a61b7c6797a0c8db602b077da32c887e4679f6850f"
"""The digest without instructions that only some x86 processors have: what `renewed` calls GOLDEN under `WITHOUT`."""

WITHOUT = {"OPENCV_IPP": "disabled", "OPENCV_CPU_DISABLE": "SSE4.1,SSE4.2,AVX,FP16,AVX2,AVX512-SKX"}

DIGEST = """
import cv2
cv2.setNumThreads({threads})
from featstore.extract.selftest import REPEATS, digest_of, make_crops
print(digest_of(make_crops(REPEATS)))
"""


def digest_elsewhere(threads: int = 1, **variables: str) -> str:
    """Digest of the crops that another process makes."""
    code = DIGEST.format(threads=threads)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | variables
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def crops():
    return make_crops(REPEATS)


def test_the_crops_are_bit_for_bit_those_of_the_reference_machine(crops):
    """Which instructions OpenCV picks decides a few bits: elsewhere only the next two tests can tell."""
    if environment() != REFERENCE:
        pytest.skip(f"another environment than the reference: {environment()}")
    assert digest_of(crops) == GOLDEN
    assert check_pixels() == {"check": "pixels", "ok": True, "detail": "bit for bit those of the reference machine"}


def test_without_special_instructions_the_crops_are_the_same_on_every_such_machine():
    if environment().split(", ")[:2] != REFERENCE.split(", ")[:2]:
        pytest.skip(f"another OpenCV or kind of machine than the reference: {environment()}")
    assert digest_elsewhere(**WITHOUT) == PLAIN


def test_the_crops_are_those_of_the_reference_but_for_rounding():
    row = check_pixels()
    assert row["ok"], row["detail"]


def test_neither_threads_nor_processes_change_a_bit(crops):
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        two = digest_of(make_crops(REPEATS))
    finally:
        cv2.setNumThreads(threads)
    assert digest_of(crops) == two == digest_elsewhere(threads=1)


def test_the_crops_go_through_every_step(crops):
    """Three blobs; what happens only now and then happens to some of the crops, and not to others."""
    assert sorted(crops) == [(blob, repeat) for blob in range(3) for repeat in REPEATS]
    draws = [
        loader.draw(AugmentationSettings(), seed=0, image_digest="selftest", blob=b, repeat=r)
        for b, r in crops
        if r > 0
    ]
    for step in ("flip_horizontal", "flip_vertical", "blur", "erase"):
        assert len({getattr(drawn, step) for drawn in draws}) == 2, step


@pytest.mark.parametrize(
    "change",
    [
        {"flip_horizontal": False},
        {"rotation_deg": 0.0},
        {"brightness": 1.0},
        {"contrast": 1.0},
        {"saturation": 1.0},
        {"hue": 0.0},
        {"stain_alpha": (1.0, 1.0, 1.0)},
        {"stain_beta": (0.0, 0.0, 0.0)},
        {"elastic_alpha_px": 0.0},
        {"elastic_key": 1},
        {"blur": False},
        {"noise_sigma": 0.0},
        {"noise_key": 1},
        {"erase": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_step_left_out_or_drawn_otherwise_fails_on_every_machine(change, monkeypatch):
    """By more than rounding: the digest is not needed."""
    draw = loader.draw
    monkeypatch.setattr(loader, "draw", lambda *args, **keywords: replace(draw(*args, **keywords), **change))
    row = check_pixels()
    assert not row["ok"]
    assert "must not be continued" in row["detail"]


def test_a_change_smaller_than_rounding_is_a_warning_and_changes_the_digest(monkeypatch, crops):
    """What only the digest shows: why it must hold on the reference machine."""
    draw = loader.draw

    def noisier(*args, **keywords):
        drawn = draw(*args, **keywords)
        return replace(drawn, noise_sigma=1.01 * drawn.noise_sigma)

    monkeypatch.setattr(loader, "draw", noisier)
    assert digest_of(make_crops(REPEATS)) not in {GOLDEN, digest_of(crops)}
    row = check_pixels()
    assert (row["ok"], row["warning"]) == (True, True)


def test_other_blobs_fail(monkeypatch):
    find = loader.find_blobs

    def two_blobs(*args):
        blobs = find(*args)
        return replace(blobs, blobs=blobs.blobs[:2])

    monkeypatch.setattr(loader, "find_blobs", two_blobs)
    row = check_pixels()
    assert (row["ok"], row["detail"]) == (False, "not the crops of the reference machine: other blobs were found")


def test_other_rounding_is_a_warning(monkeypatch):
    """One colour in a hundred a level away: more than another processor makes."""
    augment = loader.augment

    def rounded(*args, **keywords):
        crop = augment(*args, **keywords)
        crop[::10, ::10] ^= 1
        return crop

    monkeypatch.setattr(loader, "augment", rounded)
    row = check_pixels()
    assert row["ok"]
    assert row["warning"]
    assert "not equal" in row["detail"]


def test_a_warning_does_not_blame_a_processor_that_is_the_reference(monkeypatch):
    monkeypatch.setattr(selftest, "GOLDEN", "0" * 64)
    for reference, words in ((environment(), "though"), ("OpenCV 1.0, abacus", "since")):
        monkeypatch.setattr(selftest, "REFERENCE", reference)
        assert words in check_pixels()["detail"]


@pytest.mark.parametrize("error", [ImageError("no picture", reason="unreadable"), RuntimeError("no picture")])
def test_whatever_breaks_is_a_failed_check(error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(loader, "find_blobs", fail)
    for row in (check_pixels(), check_embeddings()):
        assert not row["ok"]
        assert "no picture" in row["detail"]


def test_embeddings_are_made_twice():
    row = check_embeddings()
    assert row["ok"]
    assert "warning" not in row


@pytest.mark.parametrize("number", [lambda place: place, lambda _: np.nan], ids=["order", "not finite"])
def test_embeddings_that_depend_on_order_or_are_not_finite_fail(number, monkeypatch):
    class Odd:
        def encode(self, crops):
            return np.array([[number(place)] for place in range(len(crops))], dtype=np.float32)

    monkeypatch.setattr(selftest, "load_encoder", lambda _: Odd())
    assert not check_embeddings()["ok"]


def test_what_a_missing_package_keeps_from_being_checked(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert check_pixels()["ok"]
    rows = [check_embeddings()]
    monkeypatch.setitem(sys.modules, "cv2", None)
    rows += [check_pixels(), check_embeddings()]
    for row in rows:
        assert row["ok"]
        assert row["warning"]
        assert row["detail"].startswith("not checked: ")
        assert "pip install '.[extract]'" in row["detail"]


def test_the_constants_can_be_renewed(crops):
    """What is printed is Python, and what it holds is what was measured here."""
    new: dict[str, str] = {}
    exec(renewed(), new)  # noqa: S102 - our own text
    assert (new["GOLDEN"], new["REFERENCE"]) == (digest_of(crops), environment())
    if environment() == REFERENCE:
        assert new["SAMPLES"] == selftest.SAMPLES
