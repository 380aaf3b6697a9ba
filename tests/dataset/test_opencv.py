from __future__ import annotations

import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from featstore.dataset.opencv import opencv, quietly
from featstore.errors import MissingExtraError

CLOSED = """
import os, cv2, numpy as np
from featstore.dataset import decode_image
os.close(2)
print(decode_image(cv2.imencode(".png", np.zeros((3, 4), np.uint8))[1].tobytes(), "x").shape)
"""


def log_level() -> int:
    return getattr(cv2.utils, "logging", cv2).getLogLevel()


@pytest.fixture
def broken() -> np.ndarray:
    """Give a PNG of which libpng prints a complaint."""
    data = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8))[1]
    data[len(data) // 2] ^= 1
    return data


def test_codecs_are_heard_and_not_seen(broken, capfd):
    level = log_level()
    with quietly() as heard:
        assert cv2.imdecode(broken, cv2.IMREAD_UNCHANGED) is None
    assert "libpng" in heard.damage
    assert capfd.readouterr().err == ""
    assert log_level() == level


def test_what_others_write_meanwhile_is_passed_on(broken, capfd):
    with quietly() as heard:
        os.write(2, b"progress 1 of 2\n")
        cv2.imdecode(broken, cv2.IMREAD_UNCHANGED)
        os.write(2, b"progress 2 of 2\n")
    assert capfd.readouterr().err == "progress 1 of 2\nprogress 2 of 2\n"
    assert "libpng" in heard.damage


def test_stderr_and_log_level_come_back_after_an_error(capfd):
    level = log_level()
    with pytest.raises(KeyError), quietly():
        raise KeyError
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"
    assert log_level() == level


def test_threads_may_decode_at_once(broken, capfd):
    def decode() -> None:
        for _ in range(20):
            with quietly():
                cv2.imdecode(broken, cv2.IMREAD_UNCHANGED)

    level = log_level()
    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capfd.readouterr().err == ""
    assert log_level() == level


@pytest.mark.skipif(sys.platform == "win32", reason="closing stderr is a habit of Unix daemons")
def test_a_process_without_stderr_can_read_images():
    done = subprocess.run([sys.executable, "-c", CLOSED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(3, 4, 3)"


def test_without_opencv_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"\.\[extract\]"):
        opencv()
