"""What all tests need."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let what the tests start hear of Ctrl-C: a shell that runs tests in the background makes all of them deaf."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
