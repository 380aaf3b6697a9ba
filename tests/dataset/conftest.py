from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from featstore.errors import ImageError


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """RGB picture of 48 x 64 pixels, smooth, with a different corner each."""
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), (0, 0), 2)
    picture[:8, :8], picture[:8, -8:], picture[-8:, :8], picture[-8:, -8:] = 250, (200, 0, 0), (0, 200, 0), (0, 0, 200)
    return picture


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """Encode RGB, RGBA or grey pixels by OpenCV."""

    def encode(pixels: np.ndarray, suffix: str = ".png", *settings: int) -> bytes:
        if not cv2.haveImageWriter(f"x{suffix}"):
            pytest.skip(f"this OpenCV can't write {suffix}")
        if pixels.ndim == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
        ok, data = cv2.imencode(suffix, pixels, list(settings))
        assert ok
        return data.tobytes()

    return encode


@pytest.fixture
def tree(tmp_path: Path, encoded: Callable[..., bytes], scene: np.ndarray) -> Callable[..., Path]:
    """Write files by relative name: images get a picture, masks a mask, anything else the text that is given."""

    def write(*names: str, **texts: str) -> Path:
        mask = np.zeros(scene.shape[:2], np.uint8)
        mask[10:30, 10:30] = 255
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(mask if path.name.lower().startswith("mask_") else scene))
        for name, text in texts.items():
            (tmp_path / name.replace("__", ".")).write_bytes(text.encode())
        return tmp_path

    return write


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Give a folder, and the rights of an ordinary user while the test runs."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no file permissions of this kind")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pil() -> Callable[..., bytes]:
    """Encode a Pillow image."""

    def save(image: Image.Image, kind: str, **settings: object) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **settings)
        return out.getvalue()

    return save


@pytest.fixture(scope="session")
def tiff() -> Callable[..., bytes]:
    """Encode an array by tifffile, which writes what OpenCV can't."""

    def save(array: np.ndarray, **settings: object) -> bytes:
        out = io.BytesIO()
        tifffile.imwrite(out, array, **settings)
        return out.getvalue()

    return save


@pytest.fixture(scope="session")
def refused() -> Callable[..., None]:
    """Hold a call to fail with a reason and words."""

    def check(call, reason: str, words: str = "") -> None:
        with pytest.raises(ImageError, match=words) as caught:
            call()
        assert caught.value.reason == reason

    return check


@pytest.fixture
def nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Hold a test to it: neither OpenCV nor a codec under it writes to the terminal."""
    yield
    assert capfd.readouterr().err == ""
