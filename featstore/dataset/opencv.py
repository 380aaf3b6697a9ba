"""OpenCV, loaded when pixels are needed, and kept from writing to the user's terminal."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock
from types import ModuleType

from featstore.extras import require_extra

__all__ = ["Heard", "opencv", "quietly"]

# libpng and libjpeg print these themselves, past OpenCV's logging
_CODEC_LINE = re.compile(
    rb"(?:libpng (?:warning|error): |Corrupt JPEG data: |Premature end of JPEG file|Invalid JPEG file"
    rb"|Inconsistent progression sequence|Invalid SOS parameters|Warning: )[^\n]*\n?"
)
# a few bytes between the picture and its end mark, which some cameras leave: every pixel is there
_HARMLESS = re.compile(rb"libpng warning|Corrupt JPEG data: \d extraneous bytes before marker 0xd9|Warning: ")
_SILENT = 0
_lock = RLock()


def opencv() -> ModuleType:
    """Return ``cv2``.

    Raises
    ------
    MissingExtraError
        If OpenCV is not installed.
    """
    return require_extra("cv2", "extract", "reading images needs OpenCV's")


class Heard:
    """What the image codecs complained about; ``damage`` is empty when nothing of it means lost pixels."""

    damage: str = ""


@contextmanager
def quietly() -> Iterator[Heard]:
    """Decode inside: nothing reaches stderr, and complaints of the codecs are told when the block ends.

    OpenCV's log level is put back afterwards. libjpeg and libpng write straight to the process's stderr, so that is
    caught for the moment as well; whatever anyone else wrote there meanwhile is passed on.
    """
    cv2 = opencv()
    logging = getattr(cv2.utils, "logging", cv2)  # up to OpenCV 4 these functions lie at the top
    heard = Heard()
    with _lock:
        level = logging.getLogLevel()
        logging.setLogLevel(_SILENT)
        try:
            with _stderr_caught(heard):
                yield heard
        finally:
            logging.setLogLevel(level)


@contextmanager
def _stderr_caught(heard: Heard) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            caught = stack.enter_context(tempfile.TemporaryFile())
            saved = os.dup(2)
        except OSError:  # no stderr, or nowhere to keep it: rather a line on the terminal than no picture
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            _tell(caught.read(), heard)


def _tell(written: bytes, heard: Heard) -> None:
    for line in _CODEC_LINE.findall(written):
        if not heard.damage and not _HARMLESS.search(line):
            heard.damage = line.decode("utf-8", "replace").strip()
    others = _CODEC_LINE.sub(b"", written)
    if others:
        os.write(2, others)
