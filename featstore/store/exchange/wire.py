"""How a reading process answers: frames of JSON with arrays behind it, which reading can't make anything else of."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["receive", "send"]

_LENGTH = struct.Struct("<Q")

Arrays = dict[str, NDArray[Any]]


def send(stream: BinaryIO, kind: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any] | None]) -> None:
    """Write a frame; arrays that are None are left out."""
    given = {name: np.ascontiguousarray(values) for name, values in arrays.items() if values is not None}
    described = {name: [values.dtype.str, values.shape] for name, values in given.items()}
    text = json.dumps({"kind": kind, "facts": facts, "arrays": described}).encode()
    stream.write(_LENGTH.pack(len(text)) + text)
    for values in given.values():
        stream.write(values.data.cast("B") if values.size else b"")
    stream.flush()


def receive(stream: BinaryIO) -> tuple[str, dict[str, Any], Arrays]:
    """Read a frame.

    Raises
    ------
    EOFError
        If there is none, or only a part of one.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, bytearray(_LENGTH.size)))
    frame = json.loads(bytes(_exactly(stream, bytearray(length))))
    arrays = {}
    for name, (kind, shape) in frame["arrays"].items():
        arrays[name] = np.empty(shape, dtype=kind)
        if arrays[name].size:
            _exactly(stream, arrays[name].data.cast("B"))
    return frame["kind"], frame["facts"], arrays


def _exactly(stream: BinaryIO, into: bytearray | memoryview) -> bytearray | memoryview:
    rest = memoryview(into)
    while rest:
        count = stream.readinto(rest)  # type: ignore[attr-defined]  # all binary streams have it
        if not count:
            raise EOFError
        rest = rest[count:]
    return into
