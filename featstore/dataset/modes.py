"""How an image file stores colours, by its head alone: grey, RGB or a palette, with alpha or not, and how finely."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from featstore.dataset.containers import JPEG_FRAMES
from featstore.dataset.tiff import read_tiff

__all__ = ["read_mode"]

_CHANNELS = {1: "grey", 2: "grey+alpha", 3: "RGB", 4: "RGBA"}
_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey+alpha", 6: "RGBA"}

_TIFF_PALETTE, _TIFF_SEPARATED = 3, 5


def read_mode(data: bytes, kind: str) -> tuple[str, int]:
    """Read how colours are stored.

    Parameters
    ----------
    data : bytes
        The whole file.
    kind : str
        Of file, as `read_header` names it.

    Returns
    -------
    mode : str
        ``grey``, ``grey+alpha``, ``RGB``, ``RGBA``, ``palette`` or ``CMYK``; empty where the head does not tell.
    bits : int
        Of a channel, or of an index into a palette; 0 where the head does not tell.
    """
    try:
        return _READERS[kind](data) if kind in _READERS else ("", 0)
    except (struct.error, IndexError, ValueError):
        return "", 0


def _png(data: bytes) -> tuple[str, int]:
    return _PNG_COLOURS.get(data[25], ""), data[24]


def _jpeg(data: bytes) -> tuple[str, int]:
    """Find the start of the frame (ITU T.81, B.2.2); four channels are inks, whatever order they have."""
    at = 2
    while True:
        while data[at + 1] == 0xFF:
            at += 1
        if data[at + 1] in JPEG_FRAMES:
            return {1: "grey", 3: "RGB", 4: "CMYK"}.get(data[at + 9], ""), data[at + 4]
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])


def _tiff(data: bytes) -> tuple[str, int]:
    tiff = read_tiff(data)
    if tiff.colours == _TIFF_PALETTE:
        return "palette", tiff.bits
    if tiff.colours == _TIFF_SEPARATED:
        return "CMYK", tiff.bits
    return _CHANNELS.get(tiff.samples, ""), tiff.bits


def _bmp(data: bytes) -> tuple[str, int]:
    bits = struct.unpack_from("<H", data, 24 if data[14] == 12 else 28)[0]
    if bits <= 8:
        return "palette", bits
    return {16: ("RGB", 5), 24: ("RGB", 8), 32: ("RGBA", 8)}.get(bits, ("", 0))


def _webp(data: bytes) -> tuple[str, int]:
    """Read the flag for alpha of either form that has one (RFC 9649, sections 2.7 and 3.4)."""
    alpha = {b"VP8X": data[20] & 0x10, b"VP8L": data[24] & 0x10}.get(data[12:16], 0)
    return "RGBA" if alpha else "RGB", 8


def _jpeg2000(data: bytes) -> tuple[str, int]:
    """Read the SIZ segment of the codestream (ITU T.800, A.5.1)."""
    start = data.index(b"\xff\x4f\xff\x51")
    (channels,) = struct.unpack_from(">H", data, start + 40)
    return _CHANNELS.get(channels, ""), (data[start + 42] & 0x7F) + 1


def _pnm(data: bytes) -> tuple[str, int]:
    head = re.sub(rb"#[^\n]*", b"", data[:4096])
    if data[:2] == b"P7":
        channels, top = (int(head.split(name)[1].split()[0]) for name in (b"DEPTH", b"MAXVAL"))
        return _CHANNELS.get(channels, ""), top.bit_length()
    if data[:2] in (b"P1", b"P4"):
        return "grey", 1
    return "RGB" if data[:2] in (b"P3", b"P6") else "grey", int(head[2:].split()[2]).bit_length()


def _gif(data: bytes) -> tuple[str, int]:
    return "palette", (data[10] & 7) + 1


_READERS: dict[str, Callable[[bytes], tuple[str, int]]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "TIFF": _tiff,
    "BMP": _bmp,
    "WebP": _webp,
    "JPEG 2000": _jpeg2000,
    "PNM": _pnm,
    "GIF": _gif,
}
