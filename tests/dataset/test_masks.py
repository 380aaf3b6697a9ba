from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from featstore.dataset import decode_mask, read_mask

pytestmark = pytest.mark.usefixtures("nothing_on_stderr")


def half(value: float, kind: type = np.uint8) -> np.ndarray:
    mask = np.zeros((20, 30), kind)
    mask[5:15, 10:20] = value
    return mask


INSIDE = half(1) > 0


@pytest.mark.parametrize("value", [1, 2, 127, 255])
def test_8_bit_masks_keep_their_values(value, encoded):
    for suffix in (".png", ".tif", ".bmp"):
        assert np.array_equal(decode_mask(encoded(half(value), suffix), "x", shape=(20, 30)), half(value))


@pytest.mark.parametrize("value", [1, 100, 256, 4095, 65535])
def test_wider_masks_keep_what_is_above_0(value, encoded, tiff):
    masks = [decode_mask(encoded(half(value, np.uint16)), "x", shape=(20, 30))]
    masks += [decode_mask(tiff(half(value, kind)), "x", shape=(20, 30)) for kind in (np.uint16, np.int32, np.float32)]
    for mask in masks:
        assert mask.dtype == np.uint8
        assert np.array_equal(mask > 0, INSIDE)
    assert masks[0].max() == (value if value < 256 else max(1, round(value / 257)))


def test_coloured_transparent_palette_and_boolean_masks(encoded, pil):
    colour = np.zeros((20, 30, 3), np.uint8)
    for paint in ((0, 0, 255), (0, 0, 1), (128, 0, 0), (255, 255, 255)):
        colour[INSIDE] = paint
        assert np.array_equal(decode_mask(encoded(colour), "x", shape=(20, 30)), half(max(paint)))
        opaque = np.dstack([colour, np.full((20, 30), 255, np.uint8)])
        assert np.array_equal(decode_mask(encoded(opaque), "x", shape=(20, 30)), half(max(paint)))
    only_alpha = np.dstack([np.full((20, 30, 3), 90, np.uint8), half(200)])
    assert np.array_equal(decode_mask(encoded(only_alpha), "x", shape=(20, 30)), half(200))
    palette = Image.fromarray(half(1)).convert("P")
    palette.putpalette([0, 0, 0, 0, 90, 0] + [7] * 762)
    assert np.array_equal(decode_mask(pil(palette, "PNG"), "x", shape=(20, 30)), half(90))
    boolean = Image.fromarray(INSIDE)
    for kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode_mask(pil(boolean, kind), "x", shape=(20, 30)), half(255))


def test_a_mask_of_another_size_names_both(encoded, tmp_path, refused):
    path = tmp_path / "mask_1.png"
    path.write_bytes(encoded(half(255)))
    refused(lambda: read_mask(path, shape=(30, 20)), "mask_size", r"mask_1\.png has 30 x 20 pixels, its image 20 x 30")
