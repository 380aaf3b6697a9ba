"""Stores of every format that there was are read for ever: see ``archive/README.md``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featstore.store import open_store, verify

ARCHIVE = Path(__file__).with_name("archive")
KEYS = [(b, r) for b in (0, 1) for r in (0, 1)]


def expected(keys, dim: int, replaced: tuple[int, ...]) -> np.ndarray:
    start = [100 * image + 10 * blob + repeat + 1000 * (image in replaced) for image, blob, repeat in keys]
    return np.array(start)[:, None] + np.arange(dim) / 8


@pytest.mark.parametrize(
    ("name", "version", "replaced", "label"),
    [
        ("format-1.store", 1, (), "Luminal A"),
        ("format-1.store", 2, (1,), "Luminal A"),
        ("format-1.store", 3, (1,), "Luminal B"),
        ("format-1.store", None, (1,), "Luminal B"),
        ("format-1.h5", 3, (1,), "Luminal B"),
    ],
)
def test_format_1(name, version, replaced, label):
    store = open_store(ARCHIVE / name, version=version)
    pairs = {0: KEYS, 1: [(0, 0), (0, 1)] if replaced else KEYS, 2: KEYS}
    names = ["train_data/img_0000.png", "train_data/img_0001.png", "test_data/img_0002.png"]
    keys = sorted((names[image], image, *pair) for image in pairs for pair in pairs[image])
    assert [tuple(key) for key in store.keys.tolist()] == [(name, blob, repeat) for name, _, blob, repeat in keys]
    np.testing.assert_array_equal(store.embeddings(), expected([key[1:] for key in keys], 3, replaced))
    assert store.recipe == {"encoder": {"name": "archive", "dim": 3}, "seed": 0}
    assert store.bags().labels.tolist() == [label, "HER2(+)"]
    assert store.bags().groups.tolist() == ["patient 1", "patient 2"]
    assert store.bags("test").images.tolist() == names[2:]
    assert store.blobs[0].tolist() == (names[2], 0, 900, 10, 20, 40, 50, 1, 0)
    broken = store.images["train_data/img_0003.png"]
    assert (broken.label, broken.reason, broken.note) == ("Größe µ", "unreadable", "can't be decoded")
    first = store.images[names[0]]
    assert (first.sha256, first.mask_sha256, first.source) == (f"{0:064x}", f"{7:064x}", "mask")
    assert (first.position, first.blobs, first.sample_index, first.given) == (0, 2, "img_0000.png", "as given")
    assert verify(ARCHIVE / name).ok


def test_the_log_of_format_1():
    log = list(open_store(ARCHIVE / "format-1.store").log())
    assert [(entry["version"], entry["operation"]) for entry in log] == [(3, "label"), (2, "extract"), (1, "extract")]
    assert log[2]["how"] == {"device": "cpu", "precision": "float32"}
    assert log[2]["added"] == {"rows": 12, "images": 4}


def test_float16_of_format_1():
    store = open_store(ARCHIVE / "format-1-float16.h5")
    assert (store.dtype, store.dim, len(store)) == ("float16", 1024, 3)
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0)]
    np.testing.assert_array_equal(store.embeddings(), expected(keys, 1024, ()).astype(np.float16))
    assert verify(store.path).ok
