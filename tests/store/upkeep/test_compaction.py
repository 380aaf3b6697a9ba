"""Compaction: many segments become few, in a version of their own, and no row changes."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.store import NewLabel, create_store, open_store, relabel, vacuum, verify

compacting = import_module("featstore.store.upkeep.compaction")
rewriting = import_module("featstore.store.upkeep.rewrite")


def compact(path, **keywords):
    return vacuum(path, apply=True, compact=True, **keywords)


def test_many_become_few(many, helpers):
    path = many(12)
    before = helpers.said_by(path)
    told = vacuum(path, compact=True)
    assert (told.applied, told.version, told.segments_before, told.segments) == (False, 12, 12, 1)
    done = compact(path)
    assert (done.version, done.segments_before, done.segments, done.files) == (13, 12, 1, [])
    store = open_store(path)
    assert helpers.said_by(path) == before
    assert (len(store.state.segments), len(store.state.tables)) == (1, 1)
    entry = next(store.log())
    assert (entry["operation"], entry["how"], entry["added"]["images"]) == ("compact", {"segments": [12, 1]}, 0)
    assert helpers.said_by(path, 12) == before
    assert verify(path).ok


def test_once_is_enough(many, helpers):
    path = many(3)
    assert compact(path).version == 4
    assert compact(path).version == 4
    helpers.append(path, "more", 1.0)
    assert compact(path).version == 6
    assert compact(path).version == 6


def test_space_is_freed_when_the_versions_before_go(many, helpers):
    path = many(12)
    before = helpers.said_by(path)
    done = compact(path, keep_versions=1, grace_s=0)
    assert done.versions == list(range(1, 13))
    assert len(list((path / "segments").iterdir())) == len(list((path / "tables").iterdir())) == 1
    assert helpers.said_by(path) == before
    assert verify(path).ok


def test_large_segments_stay_as_they_are(many, monkeypatch):
    path = many(4)
    monkeypatch.setattr(compacting, "SEGMENT_BYTES", 2 * min(entry.bytes for entry in open_store(path).state.segments))
    assert compact(path).version == 4


def test_one_segment_of_whose_rows_few_count_is_written_anew(tmp_path, helpers):
    path = tmp_path / "x.store"
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        for number in range(50):
            writer.add(f"{number:02d}", [0], [0], np.full((1, helpers.dim), number), facts={"sha256": "old"})
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        for number in range(48):
            writer.register(f"{number:02d}", sha256="new")
    before = helpers.said_by(path)
    compact(path)
    assert [entry.rows for entry in open_store(path).state.segments] == [2]
    assert helpers.said_by(path) == before


def test_segments_of_which_nothing_counts_go(many, monkeypatch, helpers):
    """All images have new content: what was computed from the old one is there only for the versions before."""
    path = many(4)
    with create_store(path, helpers.recipe, helpers.dim) as writer:
        for number in range(4):
            writer.add(f"{number:03d}", range(40), [0] * 40, np.ones((40, helpers.dim)), facts={"sha256": "new"})
    before = helpers.said_by(path)
    monkeypatch.setattr(compacting, "SEGMENT_BYTES", 1)
    compact(path, keep_versions=1, grace_s=0)
    assert [entry.rows for entry in open_store(path).state.segments] == [160]
    assert len(list((path / "segments").iterdir())) == 1
    assert helpers.said_by(path) == before


def test_segments_are_of_the_usual_size_and_in_their_place(tmp_path, monkeypatch, helpers):
    """New segments stand where the first of the old ones stood: the order decides between equal keys."""
    path = tmp_path / "x.store"
    for number in range(9):
        rows = 500 if number in {0, 3} else 2
        with create_store(path, helpers.recipe, helpers.dim) as writer:
            writer.add(f"{number:03d}", range(rows), [0] * rows, np.full((rows, helpers.dim), number))
    before = open_store(path).state.segments
    monkeypatch.setattr(rewriting, "SEGMENT_BYTES", 8 * 4 * helpers.dim)
    monkeypatch.setattr(compacting, "SEGMENT_BYTES", 2 * before[0].bytes)
    compact(path)
    after = open_store(path).state.segments
    assert [entry.rows for entry in after] == [500, 8, 6, 500]
    assert (after[0], after[3]) == (before[0], before[3])


def test_as_many_segments_are_made_as_were_told(tmp_path, monkeypatch, helpers):
    """A segment holds whole rows: five rows of which two and a half would fit make three segments."""
    path, dim = tmp_path / "x.store", 100_000
    for number in range(5):
        with create_store(path, helpers.recipe, dim) as writer:
            writer.add(f"{number}", [0], [0], np.full((1, dim), number))
    for module in (rewriting, compacting):
        monkeypatch.setattr(module, "SEGMENT_BYTES", 10 * dim)
    told = vacuum(path, compact=True).segments
    assert (told, compact(path).segments) == (3, 3)


images = st.sampled_from("abcd")
steps = st.lists(
    st.tuples(st.just("add"), images, st.integers(1, 3))
    | st.tuples(st.just("replace"), images, st.integers(1, 3))
    | st.tuples(st.just("leave out"), images, st.booleans())
    | st.tuples(st.just("twice"), images, st.integers(1, 3))
    | st.tuples(st.just("label"), images, st.integers(1, 3))
    | st.tuples(st.just("compact"), st.booleans(), st.integers(1, 3)),
    min_size=1,
    max_size=9,
)


def take_step(helpers, path, number: int, kind: str, image, count) -> None:
    """Do one thing that users do to a store."""
    known = open_store(path).images if number else {}
    facts = {"sha256": known[image].sha256 if image in known else "", "label": "A", "position": ord(str(image)[0])}
    if kind == "compact":
        compact(path, grace_s=0, keep_versions=count if image else None)
    elif kind == "label" and image in known:
        relabel(path, [NewLabel(image, label=f"label {count}")])
    elif kind == "leave out" and image in known:
        with create_store(path, helpers.recipe, helpers.dim) as writer:
            writer.register(image, **facts, reason="unreadable" if count else "")
    elif kind in {"add", "replace", "twice"}:
        facts["sha256"] += "+" * (kind == "replace")
        with ExitStack() as stack:  # "twice": two writers that don't know of each other compute the same keys
            for place in range(1 + (kind == "twice")):
                writer = stack.enter_context(create_store(path, helpers.recipe, helpers.dim))
                there = writer.stored(image, (facts["sha256"], ""))
                new = [(blob, repeat) for blob in range(count) for repeat in (0, number % 3)]
                new = sorted(set(new) - there)
                values = np.random.default_rng(100 * number + place).standard_normal((len(new), helpers.dim))
                boxes = [[blob, number, place, 0, 1, 1] for blob in range(count)]
                writer.add(image, [b for b, _ in new], [r for _, r in new], values, facts=facts, boxes=boxes)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(done=steps)
def test_whatever_was_done_before_no_row_changes(tmp_path_factory, helpers, done):
    path = tmp_path_factory.mktemp("any") / "x.store"
    take_step(helpers, path, 0, "add", "a", 2)
    for number, step in enumerate(done, 1):
        take_step(helpers, path, number, *step)
    before = helpers.said_by(path)
    compact(path, grace_s=0, keep_versions=1)
    assert helpers.said_by(path) == before
    assert len(open_store(path).state.segments) <= 1
    assert verify(path).ok
    with create_store(path, helpers.recipe, helpers.dim) as writer:  # those that are left out have kept their rows
        for name, row in writer.images.items():
            writer.register(name, sha256=row.sha256)
            assert any(repeat == 0 for _, repeat in writer.stored(name, row.identity))
