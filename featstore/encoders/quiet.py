"""Loading a model without progress bars and remarks on stderr."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from featstore.encoders.base import require

__all__ = ["quietly", "quietly_timm"]


@contextmanager
def quietly() -> Iterator[None]:
    """Silence transformers and Python's warnings inside the block, and leave both as they were found."""
    remarks = require("transformers.utils.logging")
    verbosity, bars = remarks.get_verbosity(), remarks.is_progress_bar_enabled()
    remarks.set_verbosity_error()
    remarks.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        remarks.set_verbosity(verbosity)
        if bars:
            remarks.enable_progress_bar()


@contextmanager
def quietly_timm() -> Iterator[None]:
    """Silence timm and Python's warnings inside the block, and leave both as they were found."""
    remarks = logging.getLogger("timm")
    level = remarks.level
    remarks.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        remarks.setLevel(level)
