"""Import files with damage at places that hypothesis picks."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featstore.errors import FeatstoreError
from featstore.store import open_store, verify
from featstore.store.exchange import import_embeddings

MAKERS = {
    "npz": ("npz", {}),
    "npz compressed": ("npz", {"compressed": True}),
    "clam": ("clam", {}),
    "trident": ("trident", {"dtype": "float16"}),
    "stamp": ("stamp", {}),
    "parquet": ("parquet", {}),
    "parquet lists": ("parquet", {"embeddings": "list"}),
    "h5ad": ("h5ad", {}),
}
SUFFIX = {"npz": "npz", "parquet": "parquet", "h5ad": "h5ad"}

edits = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["flip", "flip", "zeros", "ones", "cut", "insert", "remove", "repeat"]),
    st.integers(0, 255),
)


def damaged(content: bytes, place: float, how: str, number: int) -> bytes:
    at = int(place * len(content))
    before, after = content[:at], content[at:]
    return {
        "flip": before + bytes([after[0] ^ (1 << number % 8)]) + after[1:],
        "zeros": before + bytes(16) + after[16:],
        "ones": before + b"\xff" * 8 + after[8:],
        "cut": before,
        "insert": before + bytes([number]) * (1 + number % 9) + after,
        "remove": before + after[1 + number % 9 :],
        "repeat": before + after[:64] + after,
    }[how]


def state(path):
    store = open_store(path)
    facts = [(row.label, row.split, row.group) for row in store.images.values()]
    return store.keys.tolist(), store.embeddings().tobytes(), facts


@pytest.fixture(scope="module", params=MAKERS)
def sound(request, make, tmp_path_factory):
    """A small sound file of each kind, and what becomes of it."""
    name, options = MAKERS[request.param]
    folder = tmp_path_factory.mktemp("sound")
    path = folder / f"file.{SUFFIX.get(name, 'h5')}"
    getattr(make, name)(path, **options)
    import_embeddings(path, folder / "sound.store")
    return name, path, path.read_bytes(), state(folder / "sound.store")


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(edits, min_size=1, max_size=3))
def test_a_damaged_file_is_refused_by_name_or_gives_a_sound_store(sound, tmp_path, changes):
    """An .npz has checksums: what is taken from it is right. The others have none, or only in part: they may give other
    numbers, or other names, but only ever whole rows of finite numbers with keys of their own.
    """
    name, path, content, right = sound
    for change in changes:
        content = damaged(content, *change) or b"\0"
    path.write_bytes(content)
    target = tmp_path / "damaged.store"
    shutil.rmtree(target, ignore_errors=True)
    refusal = ""
    try:
        import_embeddings(path, target)
    except FeatstoreError as error:
        refusal = str(error)
    if refusal:
        assert str(path) in refusal
        assert not (target / "versions").exists()
        return
    keys, embeddings, _ = found = state(target)
    if name == "npz":
        assert found == right
    assert len(set(keys)) == len(keys)
    assert np.isfinite(np.frombuffer(embeddings, dtype=np.float32)).all()
    assert verify(target).ok
