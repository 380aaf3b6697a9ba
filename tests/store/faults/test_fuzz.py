"""Random version files, directories and columns with right checksums, and random keys: our own errors, or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from featstore.errors import FeatstoreError
from featstore.store import create_store, open_store

DIM = 3
NUMBERS = st.integers(-3, 9) | st.sampled_from([2**31 - 1, 2**31, 2**62, 2**63, -(2**63), 10**40])
PLAIN = st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner), max_leaves=4
)


def bounded(examples: int) -> Any:
    """The same examples every time, and no clock: two cores that are busy must not fail a test."""
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
def anew(victim, tmp_path_factory):
    """Make a fresh copy of the store, or of the packed store, in the place of the last one."""
    folder = tmp_path_factory.mktemp("fuzz")

    def make(kind: str) -> Path:
        path = folder / ("a.h5" if kind == "packed" else "a.store")
        if kind == "packed":
            return Path(shutil.copy(victim / "a.h5", path))
        shutil.rmtree(path, ignore_errors=True)
        return Path(shutil.copytree(victim / "a.store", path))

    return make


def _read(path: Path) -> str:
    """Read all there is; return the error: it must name a file, or an image without a clean crop."""
    try:
        store = open_store(path)
        found = store.keys, store.embeddings(), store.blobs, dict(store.images), store.info(), list(store.log())
        assert len(found[0]) == len(found[1]) == len(store.take(np.arange(len(store))))
        store.bags("all", labelled=False)
        return ""
    except FeatstoreError as error:
        told = str(error)
    assert str(path) in told or "no clean embedding" in told
    return told


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths to everything within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in [(*path, key), *_places(part, (*path, key))]]


def _mutate(data: st.DataObject, document: Any) -> None:
    """Change one to three things in a JSON document: put something else there, or take it away."""
    for _ in range(data.draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            return
        *way, last = data.draw(st.sampled_from(places))
        parent = document
        for key in way:
            parent = parent[key]
        if data.draw(st.integers(0, 3)):
            parent[last] = data.draw(JSON)
        else:
            del parent[last]


@bounded(250)
@given(data=st.data())
def test_version_files(anew, forge, data):
    path = anew("store")
    forge(path).version(lambda body: _mutate(data, body))
    _read(path)


@bounded(150)
@given(cut=st.tuples(st.integers(0, 3000), st.integers(0, 20)), new=st.binary(max_size=20))
def test_version_files_as_bytes(anew, forge, cut, new):
    path = anew("store")
    newest = forge(path).newest
    content = newest.read_bytes()
    newest.write_bytes(content[: cut[0]] + new + content[sum(cut) :])
    error = _read(path)
    assert error or json.loads(newest.read_bytes())["body"] == json.loads(content)["body"]


@pytest.mark.parametrize("kind", ["table", "segment", "packed"])
@bounded(150)
@given(data=st.data())
def test_directories(anew, forge, kind, data):
    path = anew(kind)
    getattr(forge(path), kind)(lambda container: _mutate(data, container.directory))
    _read(path)


@pytest.mark.parametrize("kind", ["table", "segment", "packed"])
@bounded(150)
@given(data=st.data())
def test_columns(anew, forge, kind, data):
    """Other bytes in the datasets themselves, the embeddings and their checksums among them."""

    def edit(container) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            span = container.span(data.draw(st.sampled_from(sorted(container.directory["datasets"]))))
            size = span.stop - span.start
            new = data.draw(st.binary(min_size=1, max_size=max(1, min(8, size))))
            start = span.start + data.draw(st.integers(0, max(0, size - len(new))))
            container.content[start : min(start + len(new), span.stop)] = new[: max(0, span.stop - start)]

    path = anew(kind)
    getattr(forge(path), kind)(edit)
    _read(path)


COUNTS = st.lists(NUMBERS, max_size=4) | npst.arrays(
    npst.integer_dtypes() | npst.floating_dtypes() | npst.boolean_dtypes() | npst.byte_string_dtypes(),
    npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
)
VECTORS = npst.arrays(
    npst.scalar_dtypes() | st.just(np.dtype(object)), npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
)
RIGHT = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 2**31 - 1), min_size=n, max_size=n, unique=True),
        st.just([0] * n),
        npst.arrays(np.float64, (n, DIM), elements=st.floats(-1e38, 1e38)),
    )
)


@bounded(300)
@given(
    image=st.text(st.characters(), max_size=6) | st.none() | st.integers(),
    rows=RIGHT | st.tuples(COUNTS, COUNTS, VECTORS),
    label=st.none() | st.text(st.characters(), max_size=4),
)
def test_what_is_added(tmp_path_factory, image, rows, label):
    """Refused as a whole, or read back as it was given."""
    path, (blobs, repeats, embeddings) = tmp_path_factory.mktemp("add") / "a.store", rows
    try:
        with create_store(path, {"a": 1}, DIM) as writer:
            writer.add(image, blobs, repeats, embeddings, label=label)
    except FeatstoreError:
        assert not path.exists()
        return
    store, order = open_store(path), np.lexsort((repeats, blobs))
    assert [key.item() for key in store.keys] == [(image, blobs[i], repeats[i]) for i in order]
    np.testing.assert_array_equal(store.embeddings(), np.asarray(embeddings)[order].astype(np.float32))
    assert store.images == {} or store.images[image].label == (label or "")
