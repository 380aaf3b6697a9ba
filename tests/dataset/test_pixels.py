from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from featstore.dataset import decode_image, decode_mask, find_dataset, pixels, read_image, read_mask
from featstore.errors import ImageError

pytestmark = pytest.mark.usefixtures("nothing_on_stderr")

LOSSLESS = {
    ".png": [],
    ".tif": [],
    ".bmp": [],
    ".ppm": [],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],
    ".jp2": [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000],
}


def png(height: int, width: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# what can be read


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_rgb_comes_back_as_stored(suffix, scene, encoded, tmp_path):
    path = tmp_path / f"größe 中{suffix}"
    path.write_bytes(encoded(scene, suffix, *LOSSLESS[suffix]))
    read = read_image(path)
    assert (read.dtype, read.shape, read.flags.c_contiguous) == (np.uint8, scene.shape, True)
    assert np.array_equal(read, scene)


@pytest.mark.parametrize("progressive", [0, 1])
def test_jpeg_is_close(progressive, scene, encoded):
    read = decode_image(encoded(scene, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, progressive), "x")
    assert np.abs(read.astype(int) - scene).mean() < 6


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_grey_is_repeated(suffix, scene, encoded):
    read = decode_image(encoded(scene[..., 0], suffix), "x")
    assert read.shape == scene.shape
    assert (read == read[..., :1]).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_scaled_by_their_range_and_12_bits_by_theirs(suffix, scene, encoded):
    wide = scene.astype(np.uint16)
    assert np.array_equal(decode_image(encoded(wide * 257, suffix), "x"), scene)
    assert np.array_equal(decode_image(encoded(wide[..., 0] * 257, suffix), "x")[..., 0], scene[..., 0])
    assert np.array_equal(decode_image(encoded((wide * 16 + 8) * (wide > 0), suffix), "x"), scene)


def test_transparent_pixels_lie_on_white(scene, encoded, pil, tiff):
    alpha = np.zeros(scene.shape[:2], np.uint8)
    alpha[:, 20:], alpha[:, 40:] = 128, 255
    rgba = np.dstack([scene, alpha])
    expected = np.rint(scene * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255))
    for data in (encoded(rgba), tiff(rgba, photometric="rgb", extrasamples=["unassalpha"])):
        assert np.abs(decode_image(data, "x").astype(int) - expected).max() <= 1
    webp = decode_image(pil(Image.fromarray(rgba), "WEBP", lossless=True, exact=True), "x")
    assert np.abs(webp.astype(int) - expected).max() <= 1
    alpha[:] = 255
    assert np.array_equal(decode_image(encoded(np.dstack([scene, alpha])), "x"), scene)


def test_palettes_one_bit_cmyk_and_big_tiff_are_read(scene, pil, tiff):
    image = Image.fromarray(scene)
    palette = image.quantize(16)
    for kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode_image(pil(palette, kind), "x"), np.asarray(palette.convert("RGB")))
    assert set(np.unique(decode_image(pil(image.convert("1"), "PNG"), "x"))) == {0, 255}
    assert decode_image(pil(image.convert("CMYK"), "JPEG"), "x").shape == scene.shape
    for settings in ({"bigtiff": True}, {"byteorder": ">"}, {"rowsperstrip": 5}, {"compression": "zlib"}):
        assert np.array_equal(decode_image(tiff(scene, photometric="rgb", **settings), "x"), scene)


def test_only_the_first_page_of_a_tiff_is_read(scene, tiff):
    assert np.array_equal(decode_image(tiff(np.stack([scene, 255 - scene]), photometric="rgb"), "x"), scene)


def test_floats_from_0_to_1_are_read_and_others_refused(scene, tiff, refused):
    data = tiff(scene.astype(np.float32) / 255, photometric="rgb")
    assert np.array_equal(decode_image(data, "x"), scene)
    for wrong in (scene.astype(np.float32), scene / np.float32(255) - 1, scene * np.float32(np.nan)):
        data = tiff(wrong, photometric="rgb")
        refused(lambda data=data: decode_image(data, "x"), "unreadable", "float32")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_tags_are_ignored_for_images_and_masks_alike(orientation, scene, pil):
    image, exif = Image.fromarray(scene), Image.Exif()
    exif[0x112] = orientation
    files = [pil(image, kind, exif=exif) for kind in ("PNG", "JPEG", "WEBP")]
    files.append(pil(image, "TIFF", tiffinfo={274: orientation}))
    for data in files:
        assert decode_image(data, "x").shape == scene.shape
        assert decode_mask(data, "x", shape=scene.shape[:2]).shape == scene.shape[:2]
    assert np.array_equal(decode_image(files[-1], "x"), scene)


# what can't be read


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp", ".jp2", ".ppm", ".gif"])
def test_a_file_cut_anywhere_is_refused_never_half_read(suffix, scene, encoded, tmp_path, refused):
    whole = encoded(scene, suffix)
    for size in sorted({1, 2, 3, 7, 11, 20, 33, *range(40, len(whole) - 4, len(whole) // 40)}):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(whole[:size])
        refused(lambda path=path: read_image(path), "unreadable", f"x\\{suffix} is")
        refused(lambda path=path: read_mask(path, shape=scene.shape[:2]), "mask_unreadable", f"x\\{suffix} is")


def test_progressive_jpegs_cut_short_are_refused(scene, encoded, refused):
    whole = encoded(scene, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    for size in range(len(whole) // 3, len(whole) - 2, 97):
        refused(lambda size=size: decode_image(whole[:size], "x"), "unreadable", "cut short")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp", ".jp2", ".ppm", ".gif"])
def test_flipped_bytes_never_crash_and_a_damaged_png_is_always_found(suffix, scene, encoded):
    whole, rng = encoded(scene, suffix), np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 20)):
            data[at] ^= int(rng.integers(1, 256))
        try:
            read = decode_image(bytes(data), "x", max_pixels=1 << 20)
            found = f"{read.dtype} {read.ndim}"
        except ImageError as error:
            found = error.reason
        assert found in ("unreadable", "too_large") or (found == "uint8 3" and suffix != ".png")


def test_a_jpeg_damaged_inside_is_refused_and_its_decoder_kept_quiet(scene, encoded, refused):
    large = cv2.resize(scene, (640, 480))
    data = bytearray(encoded(large, ".jpg"))
    data[len(data) // 2 : len(data) // 2 + 400] = b"\xff\xc4" * 200
    refused(lambda: decode_image(bytes(data), "x"), "unreadable", "x is damaged")


def test_a_stray_byte_before_the_end_of_a_jpeg_is_forgiven(scene, encoded):
    whole = encoded(scene, ".jpg")
    for data in (whole[:-2] + b"\0\0" + whole[-2:], whole + b"\0" * 100):
        assert np.array_equal(decode_image(data, "x"), decode_image(whole, "x"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, I am no image\n" * 9,
        b"BMI of patients\n" * 9,
        b"P1 is a protein\n",
        b"II*\0",
        b"\xff\xd8",
        b"\0" * 500,
    ],
    ids=["empty", "text", "text like BMP", "text like PNM", "TIFF", "JPEG", "zeros"],
)
def test_what_is_no_image_is_refused_by_name(data, tmp_path, refused):
    path = tmp_path / "notes.png"
    path.write_bytes(data)
    refused(lambda: read_image(path), "unreadable", r"notes\.png is")
    refused(lambda: read_mask(path, shape=(4, 4)), "mask_unreadable", r"notes\.png is")


def test_a_folder_and_a_missing_file_are_refused(tmp_path, refused):
    (tmp_path / "x.png").mkdir()
    refused(lambda: read_image(tmp_path / "x.png"), "unreadable", r"x\.png is a folder")
    refused(lambda: read_mask(tmp_path / "y.png", shape=(1, 1)), "mask_unreadable", r"y\.png is not there")


def test_kinds_that_opencv_gets_wrong_or_can_not_decode_are_refused(scene, tiff, refused):
    wide = scene.astype(np.uint16) * 257
    planar = tiff(wide.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
    refused(lambda: decode_image(planar, "x"), "unreadable", "separate planes of 16 bits")
    five = tiff(np.dstack([scene, scene[..., :2]]), photometric="minisblack", planarconfig="contig")
    refused(lambda: decode_image(five, "x"), "unreadable", "x is a TIFF that OpenCV can't decode")
    refused(lambda: decode_image(tiff(scene[..., 0].astype(np.int32)), "x"), "unreadable", "int32")


def test_a_30000_pixel_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch, refused):
    packer, side = zlib.compressobj(1), 30_000
    rows = b"".join(packer.compress(bytes(side // 8 + 1) * 1000) for _ in range(side // 1000)) + packer.flush()
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side, 1, 0, rows))
    monkeypatch.setattr(pixels, "opencv", lambda: pytest.fail("it was decoded"))
    refused(lambda: read_image(path), "too_large", r"huge\.png has 30000 x 30000 pixels.*at most 268,435,456")
    refused(lambda: read_mask(path, shape=(10, 10)), "mask_size", "30000 x 30000 pixels, its image 10 x 10")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp", ".jp2", ".ppm", ".gif", ".ras"])
def test_the_limit_holds_for_every_kind(suffix, scene, encoded, refused):
    data = encoded(scene, suffix)
    height, width = scene.shape[:2]
    assert decode_image(data, "x", max_pixels=height * width).shape == scene.shape
    refused(lambda: decode_image(data, "x", max_pixels=height * width - 1), "too_large", f"{width} x {height}")


def test_the_real_images_are_read(real):
    for record in [*find_dataset(real / "dsb2018").records[::12], *find_dataset(real / "he1024").records[:3]]:
        image = read_image(record.path)
        assert np.array_equal(image, cv2.cvtColor(cv2.imread(str(record.path)), cv2.COLOR_BGR2RGB))
        mask = read_mask(record.mask_path, shape=image.shape[:2])
        assert set(np.unique(mask)) <= {0, 255}
