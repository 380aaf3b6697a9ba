"""Loading a model without progress bars and remarks on stderr."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from featstore.encoders.base import require

__all__ = ["quietly"]


@contextmanager
def quietly() -> Iterator[None]:
    """Silence transformers and Python's warnings inside the block, and leave both as they were found."""
    logging = require("transformers.utils.logging")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
