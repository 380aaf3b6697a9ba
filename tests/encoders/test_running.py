"""A model in memory: any batch size, precision or compiler gives the same embeddings."""

from __future__ import annotations

import shutil
import sys

import cv2
import numpy as np
import pytest
import torch

from featstore.encoders import load_encoder
from featstore.encoders.checkpoints import TRANSFORMERS
from featstore.encoders.precision import LEAST_COSINE, least_cosine, probe_pictures
from featstore.encoders.processor import Processor
from featstore.encoders.running import RunningModel, start_model
from featstore.errors import EncoderError

SIDE = 56


def start(folder, precision: str = "float32", *, compiled: bool = False) -> RunningModel:
    return start_model(
        TRANSFORMERS, "tiny", folder, Processor(SIDE), device="cpu", precision=precision, compiled=compiled
    )


def embed(running: RunningModel, pictures: np.ndarray) -> np.ndarray:
    return running.embed(torch.from_numpy(pictures)).numpy()


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return probe_pictures(64, SIDE)


@pytest.fixture(scope="module")
def whole(small) -> RunningModel:
    return start(small)


def test_embeddings_do_not_depend_on_the_batch_size(small, pictures):
    encoder = load_encoder("phikon-v2", weights=small, device="cpu", precision="float32")
    alone, seven, together = (
        np.concatenate([encoder.encode(pictures[first : first + size]) for first in range(0, 64, size)])
        for size in (1, 7, 64)
    )
    assert least_cosine(alone, together) >= 0.99999
    assert least_cosine(seven, together) >= 0.99999
    assert least_cosine(together, np.roll(together, 1, axis=0)) < 0.999
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)


def test_what_a_model_is_recorded_as(whole):
    assert (whole.device, whole.precision, whole.dim) == ("cpu", "float32", 32)
    assert whole.how == {
        "device": "cpu",
        "precision": "float32",
        "torch": torch.__version__,
        "transformers": whole.how["transformers"],
        "opencv": cv2.__version__,
    }


def test_attention_is_the_fastest_that_transformers_has(whole):
    """A fused kernel, which never writes down the matrix of all tokens by all tokens."""
    assert whole.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_another_precision_is_a_copy(whole, pictures, precision):
    before = embed(whole, pictures[:4])
    half = whole.in_precision(precision)
    assert {each.dtype for each in half.model.parameters()} == {getattr(torch, precision)}
    assert {each.dtype for each in whole.model.parameters()} == {torch.float32}
    found = half.embed(torch.from_numpy(pictures[:4]))
    assert found.dtype == torch.float32
    assert half.normalise(torch.from_numpy(pictures[:1])).dtype == getattr(torch, precision)
    assert least_cosine(found.numpy(), before) >= LEAST_COSINE
    np.testing.assert_array_equal(embed(whole, pictures[:4]), before)


def test_embeddings_of_half_a_precision_come_from_the_start(small, whole, pictures):
    np.testing.assert_array_equal(
        embed(start(small, "bfloat16"), pictures[:4]), embed(whole.in_precision("bfloat16"), pictures[:4])
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(whole, bad):
    rows = np.ones((3, 4), np.float32)
    assert whole.checked(rows) is rows
    rows[1, 2] = bad
    with pytest.raises(EncoderError, match=r"1 of 3 embeddings of tiny in float32 are not finite.*weights themselves"):
        whole.checked(rows)
    with pytest.raises(EncoderError, match=r"in float16 are not finite.*--precision float32"):
        whole.in_precision("float16").checked(rows)


def test_broken_weights_are_refused_when_they_are_used(small, pictures):
    encoder = load_encoder("phikon-v2", weights=small, device="cpu", precision="float32")
    with torch.no_grad():
        next(encoder.running.model.parameters()).fill_(float("nan"))
    with pytest.raises(EncoderError, match="2 of 2 embeddings"):
        encoder.encode(pictures[:2])


needs_compiler = pytest.mark.skipif(
    sys.platform == "win32" or not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler"
)


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # torch.compile loads parts of torch that torch itself deprecates
def test_a_compiled_model_gives_the_same_numbers(tmp_path, save_dinov2, pictures):
    folder = save_dinov2(tmp_path / "shallow", num_hidden_layers=1)
    whole, compiled = start(folder), start(folder, compiled=True)
    assert compiled.how == {**whole.how, "compiled": "torch.compile"}
    for count in (1, 7, 64):
        ours, theirs = embed(compiled, pictures[:count]), embed(whole, pictures[:count])
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_a_compiler_that_fails_is_said_plainly(small, monkeypatch):
    def fail(self, *_args, **_keywords):
        raise RuntimeError("No working C++ compiler found\nand a page of advice")

    monkeypatch.setattr(torch.nn.Module, "compile", fail)
    with pytest.raises(EncoderError, match=r"torch.compile failed on cpu \(RuntimeError: No working") as refused:
        start(small, compiled=True)
    assert "Leave --compile out" in str(refused.value)
    assert "page of advice" not in str(refused.value)
