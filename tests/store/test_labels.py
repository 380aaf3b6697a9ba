"""Labels of a version, and which images must stay together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.errors import LabelError
from featstore.store import ImageRow, NewLabel, create_store, match_names, open_store, relabel
from featstore.store import labels as labels_module
from featstore.store.images import twin_groups


def test_relabelling_is_a_version_of_its_own(make_store):
    store = make_store(3)
    done = relabel(
        store.path,
        [NewLabel("img_0000.png", label="Z", group="p"), NewLabel("img_0001.png", label="B"), NewLabel("ghost.png")],
    )
    assert (done.version, done.changed, done.match.unknown) == (2, 1, ["ghost.png"])
    assert (done.moved, done.new_classes) == ([], ["Z"])
    now = open_store(store.path)
    assert (now.images["img_0000.png"].label, now.images["img_0000.png"].group) == ("Z", "p")
    assert open_store(store.path, version=1).images["img_0000.png"].label == "A"
    assert len(list((store.path / "segments").iterdir())) == 1
    assert relabel(store.path, [NewLabel("img_0001.png", label="B")])[:2] == (2, 0)


def test_names_that_are_not_there(make_store):
    path = make_store(1).path
    with pytest.raises(LabelError, match=r"has the name 'x'.*such as 'img_0000\.png'"):
        relabel(path, [NewLabel("x")])
    with pytest.raises(LabelError, match="has any of the 2 names given"):
        relabel(path, [NewLabel("x"), NewLabel("y")])


def test_an_unlabelled_image_that_gets_a_label_goes_into_training(helpers, tmp_path):
    with create_store(tmp_path / "x.store", helpers.recipe, helpers.dim) as writer:
        helpers.add_image(writer, 0, split="test")
        helpers.add_image(writer, 1, split="test")
        helpers.add_image(writer, 2, split="test")
    said = [
        NewLabel("img_0000.png", "A"),
        NewLabel("img_0001.png", "A", "test"),
        NewLabel("img_0002.png", "A", "train"),
    ]
    done = relabel(tmp_path / "x.store", said)
    images = open_store(tmp_path / "x.store").images
    assert [row.split for row in images.values()] == ["train", "test", "train"]
    assert done.moved == ["img_0000.png"], "the only one for which nobody asked it"
    assert done.new_classes == [], "there were none before"


def test_a_file_name_of_both_splits_means_the_training_image():
    images = {
        "train_data/a.png": ImageRow("train_data/a.png", sample_index="a.png"),
        "test_data/a.png": ImageRow("test_data/a.png", sample_index="a.png", split="test"),
        "x/b.png": ImageRow("x/b.png", sample_index="b.png"),
        "y/b.png": ImageRow("y/b.png", sample_index="b.png"),
    }
    assert match_names(images, ["a.png"]).keys == {"a.png": "train_data/a.png"}
    assert match_names(images, ["a.png"]).shared == ["a.png"]
    assert match_names(images, ["test_data/a.png"]).keys == {"test_data/a.png": "test_data/a.png"}
    with pytest.raises(LabelError, match="could mean"):
        match_names(images, ["b.png"])
    with pytest.raises(LabelError, match="both mean"):
        match_names(images, ["a.png", "train_data/a.png"])


traits = st.tuples(
    *[st.sampled_from(["", "a", "b", "c"])] * 3,
    st.sampled_from(["mask", "tissue"]),
    st.sampled_from(["", "good", "misplaced, noisy", "given", "empty", "whole"]),
)


@given(st.lists(traits, max_size=12))
def test_twins_share_a_group_and_others_do_not(rows):
    """Groups are the connected components of: same group, same image, or same mask that says something.

    In stores from before that was known, it is a mask that gave blobs.
    """
    table = [
        ImageRow(f"i{n:02d}", group=group and f"group {group}", sha256=sha, mask_sha256=mask, source=source, mask=says)
        for n, (group, sha, mask, source, says) in enumerate(rows)
    ]

    def related(one: ImageRow, other: ImageRow) -> bool:
        telling = all(row.mask not in ("empty", "whole") and (row.mask or row.source == "mask") for row in (one, other))
        masks = telling and one.mask_sha256 and one.mask_sha256 == other.mask_sha256
        return bool(masks or (one.group and one.group == other.group) or (one.sha256 and one.sha256 == other.sha256))

    groups = twin_groups(table)
    component = {row.image: {row.image} for row in table}
    for _ in table:
        for one in table:
            for other in table:
                if related(one, other):
                    component[one.image] |= component[other.image]
    for one in table:
        for other in table:
            assert (groups[one.image] == groups[other.image]) == (other.image in component[one.image])


def test_a_label_given_while_someone_else_writes_is_kept(make_store, helpers):
    """The writer's row was read before the label was given; what it does not mean to change stays."""
    store = make_store(2)
    facts = {"label": "A", "blobs": 3, "given": "as the data say"}
    with create_store(store.path, helpers.recipe, helpers.dim) as writer:
        writer.register("img_0000.png", **facts)
    writer = create_store(store.path, helpers.recipe, helpers.dim)
    writer.register("img_0000.png", **{**facts, "blobs": 4})
    relabel(store.path, [NewLabel("img_0000.png", label="Z")])
    writer.commit()
    row = open_store(store.path).images["img_0000.png"]
    assert (row.label, row.blobs) == ("Z", 4)


def test_a_label_does_not_bring_old_content_back(make_store, helpers, monkeypatch):
    """Between reading and committing, the image's content changes: the label goes to the new row."""
    store = make_store(1)
    commit = labels_module.commit

    def first_someone_else(base, change):
        with create_store(store.path, helpers.recipe, helpers.dim) as writer:
            facts = {"sha256": "new", "label": "A"}
            writer.add("img_0000.png", [0], [0], helpers.vector(9, 0, 0)[None], facts=facts)
        return commit(base, change)

    monkeypatch.setattr(labels_module, "commit", first_someone_else)
    assert relabel(store.path, [NewLabel("img_0000.png", label="Z")])[0] == 3
    now = open_store(store.path)
    assert (now.images["img_0000.png"].label, now.images["img_0000.png"].sha256) == ("Z", "new")
    assert now.embeddings()[0, 0] == 900
