"""``featstore`` as pages call it, with small settings put after theirs: the last of two equal options counts."""

from __future__ import annotations

import sys

from featstore_cli.app import app

FEW = ["--folds", "2", "--jobs", "1"]  # a job more is a process more, which takes longer to start than to work
SMALL = {
    "fit": ["--folds", "3", "--jobs", "1"],
    "evaluate": [*FEW, "--inner-folds", "2", "--seeds", "1"],
    "sweep": [*FEW, "--seeds", "1"],
}

if __name__ == "__main__":
    sys.argv = ["featstore", *sys.argv[1:], *SMALL.get(" ".join(sys.argv[1:2]), [])]
    app()
