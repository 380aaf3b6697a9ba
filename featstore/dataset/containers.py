"""What an image file says of itself, read before anything is decoded: its kind, its size, whether it is whole.

Decoders differ in what they make of a damaged file: some fill the missing half with grey and report nothing. And a few
kilobytes can decode to gigabytes. So size and completeness are looked up in the file's own structure first.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from featstore.dataset.tiff import TIFF_MAGICS, read_tiff

__all__ = ["JPEG_FRAMES", "Header", "read_header"]

_CUT = "the file is cut short"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# start-of-frame markers; C4, C8 and CC mean something else
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"

_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})


@dataclass(frozen=True)
class Header:
    """What the head of a file says.

    Attributes
    ----------
    kind : str
        ``PNG``, ``JPEG``, ``TIFF``, ``BMP``, ``WebP``, ``JPEG 2000``, ``PNM`` or ``GIF``.
    height, width : int
        Size in pixels as stored, before any orientation tag.
    problem : str
        What is wrong with the file, in words; empty when nothing was noticed.
    """

    kind: str
    height: int
    width: int
    problem: str = ""


def read_header(data: bytes) -> Header | None:
    """Read the head of an image file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    Header or None
        None when the file is of no kind that is known here.
    """
    for magics, kind, reader in _READERS:
        if data.startswith(magics):
            try:
                return reader(data, kind)
            except (struct.error, IndexError, ValueError):
                return Header(kind, 0, 0, f"{_CUT} or damaged in its head")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _png(data: bytes, kind: str) -> Header:
    """Walk the chunks and check their checksums (W3C PNG, section 5.3), which also tell flipped bits."""
    width, height = struct.unpack_from(">II", data, 16)
    view, at = memoryview(data), len(_PNG_SIGNATURE)
    while True:
        if at + 12 > len(data):
            return Header(kind, height, width, f"{_CUT}: its end mark is missing")
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            return Header(kind, height, width, f"{_CUT} in its {name.decode('latin-1')} chunk")
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return Header(kind, height, width, f"the checksum of its {name.decode('latin-1')} chunk is wrong")
        if name == b"IEND":
            return Header(kind, height, width)
        at = end + 4


def _jpeg(data: bytes, kind: str) -> Header:
    """Walk the marker segments up to the first scan (ITU T.81, annex B); the end mark must follow it."""
    at, height, width = 2, 0, 0
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            return Header(kind, height, width, "it is damaged before its first scan")
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
        if marker == _JPEG_SCAN:
            whole = data.rfind(_JPEG_END, at) >= 0
            return Header(kind, height, width, "" if whole else f"{_CUT}: its end mark is missing")
        at += 2 + length


def _bmp(data: bytes, kind: str) -> Header:
    pixels, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes not in _BMP_HEADERS:
        return Header(kind, 0, 0, "it begins like a BMP, and is none")
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        bits, compression = struct.unpack_from("<H", data, 24)[0], 0
    else:
        width, height = struct.unpack_from("<ii", data, 18)
        bits, compression = struct.unpack_from("<HI", data, 28)
    row_bytes = (abs(width) * bits + 31) // 32 * 4
    cut = compression in (0, 3) and pixels + row_bytes * abs(height) > len(data)
    return Header(kind, abs(height), abs(width), _CUT if cut else "")


def _webp(data: bytes) -> Header:
    """Read a WebP of any of its three forms (RFC 9649, section 2)."""
    cut = _CUT if struct.unpack_from("<I", data, 4)[0] + 8 > len(data) else ""
    form = data[12:16]
    if len(data) < 30:
        return Header("WebP", 0, 0, _CUT)
    if form == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return Header("WebP", height, width, cut)


def _jpeg2000(data: bytes, kind: str) -> Header:
    """Read the SIZ segment of the codestream (ITU T.800, annex A); its end mark occurs nowhere inside it."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0:
        return Header(kind, 0, 0, f"{_CUT}: it holds no picture")
    x1, y1, x0, y0 = struct.unpack_from(">IIII", data, start + 8)
    whole = data.find(_JPEG_END, start) >= 0
    return Header(kind, y1 - y0, x1 - x0, "" if whole else f"{_CUT}: its end mark is missing")


def _pnm(data: bytes, kind: str) -> Header:
    head = re.sub(rb"#[^\n]*", b"", data[:4096])
    if data[:2] == b"P7":
        width, height = (head.split(name)[1].split()[0] for name in (b"WIDTH", b"HEIGHT"))
    else:
        # the blank behind the second number tells that it has ended
        width, height, _ = re.split(rb"\s+", head[2:].lstrip(), maxsplit=2)
    return Header(kind, int(height), int(width))


def _gif(data: bytes, kind: str) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header(kind, height, width)


def _tiff(data: bytes, kind: str) -> Header:
    tiff = read_tiff(data)
    return Header(kind, tiff.height, tiff.width, tiff.problem)


_READERS: tuple[tuple[bytes | tuple[bytes, ...], str, Callable[[bytes, str], Header]], ...] = (
    (_PNG_SIGNATURE, "PNG", _png),
    (b"\xff\xd8", "JPEG", _jpeg),
    (TIFF_MAGICS, "TIFF", _tiff),
    (b"BM", "BMP", _bmp),
    ((b"\x00\x00\x00\x0cjP  \r\n", b"\xff\x4f\xff\x51"), "JPEG 2000", _jpeg2000),
    (tuple(b"P%d" % digit for digit in range(1, 8)), "PNM", _pnm),
    ((b"GIF87a", b"GIF89a"), "GIF", _gif),
)
