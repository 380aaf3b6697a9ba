"""Read stores that may be damaged or forged, in a process that may crash; run by the tests.

Takes paths on standard input, a line each, and prints a JSON object for each: what reading gave, what `verify` said.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from featstore.errors import FeatstoreError
from featstore.store import open_store, verify


def content(path: Path) -> str:
    """Digest of everything that a reader can see of a store."""
    store = open_store(path)
    digest = hashlib.sha256()
    parts = (store.keys, store.embeddings(), store.take(np.arange(len(store))[::-1]), store.blobs)
    for part in parts:
        digest.update(repr((part.dtype, part.shape)).encode() + part.tobytes())
    bags = store.bags("all", labelled=False)
    told = (
        store.version,
        store.fingerprint,
        store.recipe,
        store.dim,
        store.dtype,
        list(bags.images),
        list(store.log()),
    )
    info = {name: value for name, value in store.info().items() if name != "store"}
    digest.update(repr((told, info, sorted(store.images.items()))).encode())
    return digest.hexdigest()


def outcome(path: Path) -> dict[str, Any]:
    """Read and verify a store; ``wrong`` is an error that it should never come to."""
    told: dict[str, Any] = {}
    try:
        told["content"] = content(path)
    except FeatstoreError as error:
        told["error"] = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test has to hear of it
        told["wrong"] = f"reading: {error!r}"
    try:
        found = verify(path)
        told["ok"] = found.ok
        told["problems"] = [[problem.file, problem.found] for problem in found.problems]
    except FeatstoreError as error:
        told |= {"ok": False, "problems": [["", str(error)]]}
    except Exception as error:  # noqa: BLE001 - as above
        told["wrong"] = f"verify: {error!r}"
    return told


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(outcome(Path(line.strip()))), flush=True)
