"""Reading foreign files in a process of their own, which may crash or get lost without harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, BinaryIO, Self

from featstore.errors import DataError, FeatstoreError, MissingExtraError
from featstore.store.exchange.batches import Batch, Header, Options, Source
from featstore.store.exchange.wire import Arrays, receive

__all__ = ["Reader"]

PATIENCE_S = 120.0

Answer = tuple[str, dict[str, Any], Arrays]


class Reader:
    """Reads files of one format; the process is started when the first file is read, and again after a crash.

    Parameters
    ----------
    format : str
        A name among the formats that can be imported.
    patience_s : float
        Computing time (not waiting time) after which a file counts as unreadable if nothing came of it.
    """

    def __init__(self, format: str, patience_s: float = PATIENCE_S) -> None:
        self.format = format
        self.patience_s = patience_s
        self._process: _Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def header(self, source: Source, options: Options) -> Header:
        """Look at a file."""
        _, facts, _ = self._answer(self._ask("header", source, options), source)
        return Header(**facts)

    def read(self, source: Source, options: Options) -> Iterator[Batch]:
        """Read a file's rows."""
        process = self._ask("read", source, options)
        try:
            while True:
                kind, facts, arrays = self._answer(process, source)
                if kind == "end":
                    return
                yield Batch(**{**facts, **arrays})
        except FeatstoreError:
            raise  # no answer comes after one that is an error
        except BaseException:
            self.stop()  # answers that nobody waits for are in the way of the next ones
            raise

    def stop(self) -> str:
        """End the process, and tell how it ended."""
        process, self._process = self._process, None
        return process.end() if process else ""

    def _ask(self, what: str, source: Source, options: Options) -> _Process:
        request = {
            "what": what,
            "path": str(source.path),
            "image": source.image,
            "columns": dict(options.columns),
            "tile_px": options.tile_px,
        }
        process = self._process = self._process or _Process.start(self.format, self.patience_s)
        with suppress(BrokenPipeError):  # if it has ended, that is what the answer says
            process.requests.write(json.dumps(request).encode() + b"\n")
            process.requests.flush()
        return process

    def _answer(self, process: _Process, source: Source) -> Answer:
        try:
            kind, facts, arrays = receive(process.answers)
        except EOFError:
            raise DataError(f"{source.path}: not readable: {self.stop()}") from None
        if kind in {"error", "missing extra"}:
            raise (DataError if kind == "error" else MissingExtraError)(**facts)
        return kind, facts, arrays


@dataclass
class _Process:
    """The process, and the files that it is spoken to with."""

    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    answers: BinaryIO
    complaints: IO[bytes]

    @classmethod
    def start(cls, format_name: str, patience_s: float) -> _Process:
        """Start it, with modules from where this process has them, and never from the current folder."""
        ours, theirs = os.pipe()
        worker = ["-P", "-m", "featstore.store.exchange.worker", format_name, str(patience_s), str(theirs)]
        answers, complaints = os.fdopen(ours, "rb"), tempfile.TemporaryFile()  # noqa: SIM115  # `end` closes it
        try:
            process = subprocess.Popen(  # noqa: S603  # all of it is ours
                [sys.executable, *worker],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                pass_fds=[theirs],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        finally:
            os.close(theirs)
        assert process.stdin is not None  # noqa: S101  # a pipe was asked for
        return cls(process, process.stdin, answers, complaints)

    def end(self) -> str:
        """End it, and tell how it ended."""
        for stream in (self.requests, self.answers):
            with suppress(OSError):
                stream.close()
        try:
            code = self.process.wait(0.5)  # one that crashed has ended, one that is idle ends now
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        with self.complaints as complaints:
            complaints.seek(0)
            words = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
        if code == -signal.SIGVTALRM:
            return "the library that reads such files got lost in it"
        if code < 0:
            return f"the library that reads such files crashed ({signal.Signals(-code).name})"
        return f"the process that reads it ended with {code} ({words[:200] or 'and no word why'})"
