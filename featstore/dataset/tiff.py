"""The first directory of a TIFF file (TIFF 6.0, section 2; BigTIFF alike): size, completeness, orientation."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["TIFF_MAGICS", "Tiff", "read_tiff", "upright"]

TIFF_MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

WIDTH, HEIGHT, BITS, COLOURS, ORIENTATION, SAMPLES, PLANAR = 256, 257, 258, 262, 274, 277, 284
# (offsets, byte counts) of strips, and of tiles
_PARTS = ((273, 279), (324, 325))
_NEEDED = (WIDTH, HEIGHT, BITS, COLOURS, SAMPLES, PLANAR, *_PARTS[0], *_PARTS[1])
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True)
class Tiff:
    """What the first directory says.

    Attributes
    ----------
    height, width : int
        Size in pixels as stored.
    problem : str
        What is wrong with the file; empty when nothing was noticed.
    orientation_at : int
        Where the value of the orientation tag stands in the file, 0 without one.
    bits, samples : int
        Of each channel, and number of channels.
    colours : int
        What the channels mean (PhotometricInterpretation); -1 where it is not said.
    """

    height: int
    width: int
    problem: str
    orientation_at: int
    bits: int
    samples: int
    colours: int


def read_tiff(data: bytes) -> Tiff:
    """Read the first directory of a TIFF file.

    Raises
    ------
    struct.error, IndexError, ValueError
        If the file ends before its directory does, or lacks a size.
    """
    order, tags = _directory(data)
    values = {tag: _values(data, order, *tags[tag]) for tag in _NEEDED if tag in tags}
    if WIDTH not in values or HEIGHT not in values:
        raise ValueError("no size")
    (bits, *_), (samples, *_) = values.get(BITS, (1,)), values.get(SAMPLES, (1,))
    planar = values.get(PLANAR, (1,))[0] == 2 and samples > 1
    problem = ""
    if planar and bits > 8:
        # OpenCV returns the first plane for each of them, without a word
        problem = f"its colours lie in separate planes of {bits} bits, which OpenCV misreads"
    for offsets, counts in _PARTS:
        parts = zip(values.get(offsets, ()), values.get(counts, ()), strict=False)
        if any(start + length > len(data) for start, length in parts):
            problem = "the file is cut short"
    orientation_at = tags[ORIENTATION][2] if ORIENTATION in tags else 0
    colours = values.get(COLOURS, (-1,))[0]
    return Tiff(values[HEIGHT][0], values[WIDTH][0], problem, orientation_at, bits, samples, colours)


def upright(data: bytes) -> bytes:
    """Return the file with its orientation set to "as stored", which OpenCV otherwise obeys even when told not to."""
    tiff = read_tiff(data)
    order = "<" if data[:2] == b"II" else ">"
    if not tiff.orientation_at or data[tiff.orientation_at : tiff.orientation_at + 2] == struct.pack(order + "H", 1):
        return data
    changed = bytearray(data)
    struct.pack_into(order + "H", changed, tiff.orientation_at, 1)
    return bytes(changed)


def _directory(data: bytes) -> tuple[str, dict[int, tuple[int, int, int]]]:
    """Return the byte order, and for each tag its type, count and the place of its values."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    at = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count_format, entry_format, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    (count,) = struct.unpack_from(order + count_format, data, at)
    at += struct.calcsize(order + count_format)
    tags = {}
    for _ in range(count):
        tag, kind, length = struct.unpack_from(order + entry_format, data, at)
        value_at = at + struct.calcsize(order + entry_format)
        at = value_at + inline
        if kind in _TYPES:
            if length * struct.calcsize(order + _TYPES[kind]) > inline:
                (value_at,) = struct.unpack_from(order + ("Q" if big else "I"), data, value_at)
            tags[tag] = (kind, length, value_at)
    return order, tags


def _values(data: bytes, order: str, kind: int, count: int, at: int) -> tuple[int, ...]:
    return struct.unpack_from(f"{order}{count}{_TYPES[kind]}", data, at)
