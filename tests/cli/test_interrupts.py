"""Ctrl-C in every command, in real processes: exit 130, a word on what is safe, no traceback, no half-written file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

# The library call at the heart of each command tells that it was reached, and then takes for ever.
SLOW = """
    import sys, time
    import featstore.{room} as room

    def wait(*_, **__):
        print("reached", file=sys.stderr, flush=True)
        time.sleep(600)

    room.{name} = wait
    from featstore_cli.app import app
    app(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "room", "name", "words"),
    [
        (
            ["extract", "{data}", "--store", "{tmp}/s.store", "--encoder", "stain-texture"],
            "extract",
            "extract",
            "Nothing was finished",
        ),
        (["fit", "{work}/s.store", "--model", "{tmp}/m.model"], "toolkit", "save_model", "No model was written"),
        (["predict", "{work}/m.model", "{work}/s.store", "--out", "{tmp}/p.csv"], "store", "open_store", "as it was"),
        (["store", "info", "{work}/s.store"], "store", "open_store", "Nothing was changed"),
        (["store", "log", "{work}/s.store"], "store", "open_store", "Nothing was changed"),
        (["store", "label", "{data}/train_labels.csv", "{work}/s.store"], "store", "relabel", "Nothing was changed"),
        (["doctor"], "encoders", "examine", "Nothing was changed"),
    ],
)
def test_ctrl_c(work, small_data, tmp_path, arguments, room, name, words):
    filled = [text.format(work=work, data=small_data, tmp=tmp_path) for text in arguments]
    script = textwrap.dedent(SLOW.format(room=room, name=name))
    if filled[0] == "fit":
        filled += ["--preset", "m4", "--folds", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *filled],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if line.strip() == "reached":
            break
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.glob("*.model")) + list(tmp_path.glob("*.csv"))
