"""The process that reads foreign files: ``python -m featstore.store.exchange.worker FORMAT SECONDS DESCRIPTOR``.

The libraries that read them are written in C: a damaged file can crash them, or keep them busy for ever. Here that ends
one process and not the one that imports. Requests are lines of JSON on standard input; answers are frames on a pipe of
their own, among which nothing gets that a library prints.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from featstore.errors import FeatstoreError, MissingExtraError
from featstore.store.exchange.batches import TEXTS, Batch, Options, Source
from featstore.store.exchange.foreign import reading
from featstore.store.exchange.sources import FORMATS, Format
from featstore.store.exchange.wire import send

__all__ = ["main"]


def main(format_name: str, patience_s: float, descriptor: int) -> None:
    """Answer requests until there are no more.

    Between two answers the process may compute for ``patience_s`` seconds. Waiting for a slow disk does not count, and
    what computes longer is lost: the signal, which nothing handles, ends the process even within a library.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the process that imports
    warnings.simplefilter("ignore")
    answers, chosen = os.fdopen(descriptor, "wb"), FORMATS[format_name]
    for library in chosen.libraries:  # loading them takes a while, which is nobody's fault
        with suppress(ImportError):  # the format itself says what is missing
            import_module(library)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        source = Source(Path(request["path"]), request["image"])
        try:
            with reading(source.path, "such a file"):
                _answer(answers, chosen, request, source, patience_s)
        except FeatstoreError as error:
            kind = "missing extra" if isinstance(error, MissingExtraError) else "error"
            send(answers, kind, {"found": error.found, "expected": error.expected, "remedy": error.remedy}, {})


def _answer(answers: BinaryIO, chosen: Format, request: dict[str, Any], source: Source, patience_s: float) -> None:
    options = Options(request["columns"], request["tile_px"])
    signal.setitimer(signal.ITIMER_VIRTUAL, patience_s)
    if request["what"] == "header":
        send(answers, "header", vars(chosen.header(source, options)), {})
        return
    for batch in chosen.read(source, options):
        _send_batch(answers, batch)
        signal.setitimer(signal.ITIMER_VIRTUAL, patience_s)
    send(answers, "end", {}, {})


def _send_batch(answers: BinaryIO, batch: Batch) -> None:
    facts = {name: getattr(batch, name) for name in ("image", *TEXTS)}
    arrays = {name: getattr(batch, name) for name in ("embeddings", "blob", "repeat", "boxes")}
    send(answers, "batch", facts, arrays)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
