"""Verify: a store in order is said to be; whatever is wrong is found, and the file named."""

from __future__ import annotations

import os

import numpy as np
import pytest

from featstore.errors import StoreNotFoundError
from featstore.store import NewLabel, Problem, create_store, merge, open_store, pack, relabel, vacuum, verify
from featstore.store.disk.commits import Change, commit
from featstore.store.disk.segments import SegmentRows, write_segment
from featstore.store.disk.versions import read_version
from featstore.store.disk.writing import EmbeddingRows


@pytest.fixture
def path(tmp_path, helpers):
    """Three versions with two tables and two segments."""
    path = tmp_path / "some.store"
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        for number in range(5):
            helpers.add_image(writer, number, label="A")
        writer.register("broken.png", reason="unreadable")
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        helpers.add_image(writer, 5)
        helpers.add_image(writer, 0, repeats=(2,))
    relabel(path, [NewLabel("img_0002.png", label="B")])
    return path


def files_of(path, folder: str):
    return sorted((path / folder).iterdir())


def test_a_store_in_order(path):
    done = verify(path)
    assert (done.ok, done.problems) == (True, [])
    assert (done.versions, done.segments, done.embeddings) == (3, 2, 26)
    one = verify(path, version=1)
    assert (one.ok, one.versions, one.segments, one.embeddings) == (True, 1, 1, 20)


def test_every_kind_of_store_in_order(path, tmp_path, helpers):
    pack(open_store(path), tmp_path / "packed.h5")
    pack(open_store(path), tmp_path / "part.h5", repeats=0)
    merge([path], tmp_path / "merged.store")
    with create_store(tmp_path / "empty.store", helpers.recipe, helpers.dim) as writer:
        writer.register("broken.png", reason="unreadable")
    with create_store(tmp_path / "half.store", helpers.recipe, 700, dtype="float16") as writer:
        writer.add("x", range(9), [0] * 9, np.full((9, 700), 1 / 3))
    vacuum(path, apply=True, compact=True, keep_versions=2, grace_s=0)
    places = [
        path,
        *(tmp_path / name for name in ("packed.h5", "part.h5", "merged.store", "empty.store", "half.store")),
    ]
    found = {place.name: verify(place) for place in places}
    assert {name: done.problems for name, done in found.items()} == {place.name: [] for place in places}
    assert [found[name].embeddings for name in ("packed.h5", "part.h5", "empty.store")] == [26, 12, 0]
    assert found["packed.h5"].versions == found["packed.h5"].segments == 1


def test_nothing_is_changed_and_litter_is_no_problem(path, helpers):
    (path / "segments" / ".tmp-0").write_bytes(b"half")
    (path / "segments" / f"{'0' * 32}.h5").write_bytes(b"never committed")
    (path / "notes.txt").write_text("mine")
    before = helpers.contents(path)
    assert verify(path).ok
    assert helpers.contents(path) == before


def _flip_the_middle(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def _pipe(file):
    file.unlink()
    os.mkfifo(file)


DAMAGE = {
    "missing": os.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "flipped": _flip_the_middle,
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "a pipe": _pipe,
}


@pytest.mark.parametrize("folder", ["versions", "tables", "segments"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_each_damaged_file_is_named(path, tmp_path, helpers, folder, damage):
    """Each file in turn, and what is wrong with it is found, whatever else is there."""
    for name, content in helpers.contents(path).items():
        file = path / name
        if file.parent.name != folder or (damage == "missing" and name.endswith(("1.json", "3.json"))):
            continue  # fewer versions are a store too
        DAMAGE[damage](file)
        done = verify(path)
        assert not done.ok
        named = [problem for problem in done.problems if file.name in problem.file or file.name in problem.found]
        where = [problem for problem in done.problems if problem.file == str(path / "versions")]
        assert named or (damage == "missing" and folder == "versions" and where)
        file.unlink(missing_ok=True)
        file.write_bytes(content)
    assert verify(path).ok


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_damaged_embedding_is_found(path, helpers, place):
    """Also of rows that share their checksum's block with others."""
    for segment in open_store(path).state.read_segments():
        source = segment.embeddings
        last = source.shape[0] * source.row_bytes - 1
        at = source.offset + {"first": 0, "middle": last // 2, "last": last}[place]
        helpers.flip(segment.path, at)
        (problem,) = verify(path).problems
        assert problem.file == str(segment.path)
        assert "checksum of embedding" in problem.found
        helpers.flip(segment.path, at)
    assert verify(path).ok


def test_all_that_is_wrong_is_told_at_once(path, helpers):
    damaged = [*files_of(path, "segments"), files_of(path, "versions")[0]]
    for file in damaged:
        helpers.flip(file, 300)
    assert {problem.file for problem in verify(path).problems} >= {str(file) for file in damaged}


def test_a_version_that_is_missing_between_others(path):
    files_of(path, "versions")[1].unlink()
    (problem,) = verify(path).problems
    assert problem == Problem(str(path / "versions"), "version 2 is missing")
    assert verify(path, version=3).ok


def test_only_what_the_version_asked_for_needs_is_looked_at(path, helpers):
    newer = next(entry for entry in open_store(path).state.segments if entry.rows == 6)
    helpers.flip(path / "segments" / newer.file, -60)
    assert verify(path, version=1).ok
    assert not verify(path, version=2).ok


def commit_rows(path, keys, values=None, images=("img_0000.png",)) -> str:
    """Commit a segment as another writer might have written it, checksums right; return its file."""
    version = read_version(path)
    image, blob, repeat = (np.array([key[place] for key in keys], dtype=np.int32) for place in range(3))
    values = np.ones((len(keys), version.dim), dtype=np.float32) if values is None else values
    rows = SegmentRows(
        EmbeddingRows(values.shape[1], values.dtype, [values]),
        image,
        blob,
        repeat,
        [(name, "", "") for name in images],
        np.zeros((0, 9), dtype=np.int32),
    )
    entry = write_segment(path / "segments", rows, version.fingerprint)
    commit(version, Change("by hand", (entry,)))
    return str(path / "segments" / entry.file)


def test_a_key_that_is_there_twice(path):
    file = commit_rows(path, [(0, 7, 0), (0, 8, 0), (0, 7, 0)])
    assert verify(path).problems == [Problem(file, "a key is there twice")]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite(path, value):
    values = np.ones((3, 6), dtype=np.float32)
    values[2, 5] = value
    file = commit_rows(path, [(0, 7, 0), (0, 8, 0), (0, 9, 0)], values)
    assert verify(path).problems == [Problem(file, "embedding 2 is not finite")]


def test_an_image_without_a_clean_embedding(path, helpers):
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        writer.register("odd.png")
    commit_rows(path, [(0, 0, 1), (0, 1, 1)], images=["odd.png"])
    (problem,) = verify(path).problems
    assert "'odd.png' has no clean embedding" in problem.found
    assert problem.file.endswith("00000005.json")


def test_doubles_of_two_writers_are_no_problem(path, helpers):
    writers = [create_store(path, helpers.recipe, helpers.dim) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.add("twice.png", [0], [0], np.full((1, helpers.dim), number))
    for writer in writers:
        writer.commit()
    assert verify(path).ok


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "longer"])
def test_a_damaged_packed_store(path, tmp_path, damage):
    file = tmp_path / "packed.h5"
    pack(open_store(path), file)
    DAMAGE[damage](file)
    (problem,) = verify(file).problems
    assert problem.file == str(file)
    assert str(file) in problem.found


def test_every_part_of_a_packed_store_is_looked_at(path, tmp_path, helpers):
    pack(open_store(path), tmp_path / "packed.h5")
    size = (tmp_path / "packed.h5").stat().st_size
    source = open_store(tmp_path / "packed.h5").state.read_segments()[0].embeddings
    embeddings = range(source.offset, source.offset + source.shape[0] * source.row_bytes, 37)
    for at in [*range(0, size, 97), *embeddings, size - 1]:
        helpers.flip(tmp_path / "packed.h5", at)
        assert not verify(tmp_path / "packed.h5").ok
        helpers.flip(tmp_path / "packed.h5", at)
    assert verify(tmp_path / "packed.h5").ok


def test_what_is_not_there_is_an_error(path, tmp_path):
    with pytest.raises(StoreNotFoundError, match="no store there"):
        verify(tmp_path / "nowhere")
    with pytest.raises(StoreNotFoundError, match="no version 9"):
        verify(path, version=9)
    pack(open_store(path), tmp_path / "packed.h5")
    with pytest.raises(StoreNotFoundError, match="no version 9"):
        verify(tmp_path / "packed.h5", version=9)


def test_many_versions_are_verified_in_the_time_of_one(tmp_path, helpers, monkeypatch):
    """Each file is read once or twice, however many versions list it."""
    path, count = tmp_path / "x.store", 30
    for number in range(count):
        with create_store(path, helpers.recipe, helpers.dim) as writer:
            helpers.add_image(writer, number, blobs=1, repeats=(0,))
    opened, real = [], os.open
    monkeypatch.setattr(
        os, "open", lambda name, *rest, **more: (opened.append(str(name)), real(name, *rest, **more))[1]
    )
    assert verify(path).ok
    assert len(opened) <= 5 * len(set(opened))
