"""What heads say of colours is what other programs wrote."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from featstore.dataset.containers import read_header
from featstore.dataset.modes import read_mode

EIGHT = [
    ("L", "PNG", "grey"),
    ("LA", "PNG", "grey+alpha"),
    ("RGB", "PNG", "RGB"),
    ("RGBA", "PNG", "RGBA"),
    ("P", "PNG", "palette"),
    ("L", "JPEG", "grey"),
    ("RGB", "JPEG", "RGB"),
    ("CMYK", "JPEG", "CMYK"),
    ("L", "TIFF", "grey"),
    ("RGB", "TIFF", "RGB"),
    ("RGBA", "TIFF", "RGBA"),
    ("P", "TIFF", "palette"),
    ("CMYK", "TIFF", "CMYK"),
    ("L", "BMP", "palette"),
    ("RGB", "BMP", "RGB"),
    ("RGBA", "BMP", "RGBA"),
    ("RGB", "WEBP", "RGB"),
    ("RGBA", "WEBP", "RGBA"),
    ("L", "JPEG2000", "grey"),
    ("RGB", "JPEG2000", "RGB"),
    ("RGBA", "JPEG2000", "RGBA"),
    ("L", "PPM", "grey"),
    ("RGB", "PPM", "RGB"),
]


def told(data: bytes) -> tuple[str, int]:
    header = read_header(data)
    assert header is not None
    assert not header.problem
    return read_mode(data, header.kind)


@pytest.mark.parametrize(("mode", "kind", "wanted"), EIGHT)
def test_eight_bits_of_every_kind(mode: str, kind: str, wanted: str, scene, pil) -> None:
    picture = Image.fromarray(scene).convert("RGBA").convert(mode)
    if "A" in mode:
        picture.putalpha(Image.fromarray(scene[..., 0]))
    assert told(pil(picture, kind)) == (wanted, 8)


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_with_and_without_loss(lossless: bool, scene, pil) -> None:
    assert told(pil(Image.fromarray(scene), "WEBP", lossless=lossless)) == ("RGB", 8)


def test_other_depths(scene, encoded, pil, tiff) -> None:
    wide = scene.astype(np.uint16) * 257
    assert told(encoded(wide)) == told(encoded(wide, ".tiff")) == ("RGB", 16)
    assert told(encoded(wide[..., 0], ".pgm")) == ("grey", 16)
    assert told(pil(Image.fromarray(scene).convert("1"), "PNG")) == ("grey", 1)
    assert told(pil(Image.fromarray(scene).convert("1"), "PPM")) == ("grey", 1)
    assert told(pil(Image.fromarray(scene).quantize(16), "GIF")) == ("palette", 4)
    assert told(tiff((scene / 255).astype(np.float32), photometric="rgb")) == ("RGB", 32)
    assert told(b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\nabcd") == ("RGBA", 8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".bmp", ".webp", ".jp2", ".ppm"])
def test_a_file_that_is_cut_short_ends_nothing(suffix: str, scene, encoded) -> None:
    data = encoded(scene, suffix)
    kind = read_header(data).kind
    for length in range(40):
        assert read_mode(data[:length], kind)[0] in {"", "RGB"}
    assert read_mode(data, "something else") == ("", 0)
