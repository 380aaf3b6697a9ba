"""The run: what is computed, what is not computed again, and that nobody can tell how it was run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import ClassVar

import cv2
import numpy as np
import pytest

from featstore.dataset import find_dataset
from featstore.encoders import load_encoder
from featstore.errors import DataError, EncoderError, SettingError
from featstore.extract import Repeats, plan_extraction
from featstore.extract import run as run_module
from featstore.store import NewLabel, open_store, relabel

CLI = [
    sys.executable,
    "-c",
    "from featstore.extract import run; run.COMMIT_SECONDS = 0.0; from featstore_cli.app import app; app()",
]


def _is_gone(group: int) -> bool:
    """Whether all processes of a process group have ended, after a moment to do so."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def contents(path):
    store = open_store(path)
    return store.keys, store.embeddings()


def assert_same(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


def assert_near(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], atol=1e-5)


def test_every_image_blob_and_repeat_is_there(challenge, run, tmp_path):
    result = run(challenge, tmp_path / "s.store", train=3, test=1)
    store = open_store(tmp_path / "s.store")
    expected = [(f"test_data/img_{n:04d}.png", b, r) for n in range(2) for b in range(2) for r in range(2)]
    expected += [(f"train_data/img_{n:04d}.png", b, r) for n in range(6) for b in range(2) for r in range(4)]
    assert [key.item() for key in store.keys] == expected
    assert (result.images, result.blobs, result.computed, result.rejected) == (8, 16, len(expected), [])
    assert list(result.stages) == ["decode", "segment", "augment", "transfer", "encode", "write"]
    assert store.images["train_data/img_0003.png"].label == "B"
    assert store.images["test_data/img_0000.png"].split == "test"
    assert store.recipe["encoder"]["name"] == "stain-texture"


def test_workers_and_batches_never_show(challenge, run, tmp_path):
    """The issue's own words: 0, 1 and 2 workers, batches of 1, 7 and 64, bit-identical key by key."""
    run(challenge, tmp_path / "first.store", train=2, workers=0, batch_size=1)
    first = contents(tmp_path / "first.store")
    for workers, batch_size in ((1, 7), (2, 64)):
        path = tmp_path / f"{workers}.store"
        run(challenge, path, train=2, workers=workers, batch_size=batch_size)
        assert_same(contents(path), first)


def test_growing_computes_only_what_is_new(challenge, run, tissue, tmp_path):
    path = tmp_path / "s.store"
    assert run(challenge, path, train=1).computed == 6 * 2 * 2 + 2 * 2
    assert run(challenge, path, train=3).computed == 6 * 2 * 2
    tissue(challenge / "test_data", 7)
    assert run(challenge, path, train=3).computed == 2
    again = run(challenge, path, train=3)
    assert (again.computed, again.version) == (0, 3)
    run(challenge, tmp_path / "at_once.store", train=3)
    assert_same(contents(path), contents(tmp_path / "at_once.store"))


def test_fewer_repeats_than_stored_computes_nothing(challenge, run, tmp_path):
    run(challenge, tmp_path / "s.store", train=2)
    assert run(challenge, tmp_path / "s.store", train=1).computed == 0


def test_a_changed_image_or_mask_is_computed_again(challenge, run, tissue, tmp_path):
    path = tmp_path / "s.store"
    run(challenge, path, train=1)
    before = open_store(path)
    tissue(challenge / "train_data", 2, seed=999)
    mask = challenge / "train_data" / "mask_0004.png"
    cv2.imwrite(str(mask), np.where(cv2.imread(str(mask), 0) > 0, 0, 255).astype(np.uint8))
    assert run(challenge, path, train=1).computed == (2 + 1) * 2
    after = open_store(path)
    assert len(after) == len(before) - 2
    assert not np.array_equal(
        after.embeddings(images=["train_data/img_0002.png"]), before.embeddings(images=["train_data/img_0002.png"])
    )
    run(challenge, tmp_path / "anew.store", train=1)
    assert_same(contents(path), contents(tmp_path / "anew.store"))
    np.testing.assert_array_equal(open_store(path, version=1).embeddings(), before.embeddings())


def test_repeats_differ_from_each_other_and_from_the_clean_crop(challenge, run, tmp_path):
    run(challenge, tmp_path / "s.store", train=3)
    rows = open_store(tmp_path / "s.store").embeddings(images=["train_data/img_0000.png"], blobs=[0])
    assert len(np.unique(rows, axis=0)) == 4


def test_a_renamed_image_gets_the_same_embeddings(challenge, run, tmp_path):
    """Draws are keyed by content: a name is only a name."""
    run(challenge, tmp_path / "one.store", train=2)
    for kind in ("img", "mask"):
        folder = challenge / "train_data"
        (folder / f"{kind}_0000.png").rename(folder / f"{kind}_0099.png")
    run(challenge, tmp_path / "two.store", train=2)
    old = open_store(tmp_path / "one.store").embeddings(images=["train_data/img_0000.png"])
    new = open_store(tmp_path / "two.store").embeddings(images=["train_data/img_0099.png"])
    np.testing.assert_array_equal(old, new)


def test_bad_files_are_rows_with_a_reason_and_the_rest_is_done(challenge, run, tmp_path):
    train = challenge / "train_data"
    (train / "img_0000.png").write_bytes(b"")
    (train / "img_0001.png").write_text("this is a text file")
    (train / "img_0002.png").write_bytes((train / "img_0002.png").read_bytes()[:2000])
    cv2.imwrite(str(train / "mask_0003.png"), np.full((20, 20), 255, dtype=np.uint8))
    cv2.imwrite(str(train / "mask_0004.png"), np.zeros((160, 160), dtype=np.uint8))
    (train / "mask_0005.png").unlink()
    cv2.imwrite(str(challenge / "test_data" / "img_0001.png"), np.full((160, 160, 3), 255, dtype=np.uint8))
    cv2.imwrite(str(challenge / "test_data" / "mask_0001.png"), np.zeros((160, 160), dtype=np.uint8))
    result = run(challenge, tmp_path / "s.store", workers=2)
    reasons = {row["image"].removeprefix("train_data/"): row["reason"] for row in result.rejected}
    assert reasons == {
        "img_0000.png": "unreadable",
        "img_0001.png": "unreadable",
        "img_0002.png": "unreadable",
        "img_0003.png": "mask_size",
        "test_data/img_0001.png": "no_blob",
    }
    store = open_store(tmp_path / "s.store")
    assert {name: row.source for name, row in store.images.items() if not row.reason} == {
        "train_data/img_0004.png": "tissue",
        "train_data/img_0005.png": "tissue",
        "test_data/img_0000.png": "mask",
    }
    assert "tissue was found on the image" in store.images["train_data/img_0004.png"].note
    assert "img_0000.png" in store.images["train_data/img_0000.png"].note
    assert run(challenge, tmp_path / "s.store").computed == 0


def test_contaminated_training_images_are_left_out_and_test_images_never(challenge, run, tmp_path):
    for path in (challenge / "train_data" / "img_0001.png", challenge / "test_data" / "img_0001.png"):
        image = cv2.imread(str(path))
        image[20:60, 20:60] = (40, 220, 40)
        cv2.imwrite(str(path), image)
    result = run(challenge, tmp_path / "s.store")
    (row,) = result.rejected
    assert (row["image"], row["reason"]) == ("train_data/img_0001.png", "contaminated_green")
    assert "%" in row["note"]
    assert "test_data/img_0001.png" in open_store(tmp_path / "s.store").usable("test")


def test_an_unlabelled_training_image_is_extracted_and_waits_for_its_label(challenge, run, tmp_path):
    labels = challenge / "train_labels.csv"
    text = labels.read_text()
    labels.write_text(text.replace("img_0000.png,A\n", ""))
    run(challenge, tmp_path / "s.store")
    assert len(open_store(tmp_path / "s.store").bags()) == 5
    labels.write_text(text)
    assert run(challenge, tmp_path / "s.store").computed == 0
    assert len(open_store(tmp_path / "s.store").bags()) == 6


def test_nothing_usable_is_an_error_that_counts_the_reasons(tmp_path, run):
    (tmp_path / "data").mkdir()
    for number in range(3):
        (tmp_path / "data" / f"img_{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 3 images can be used \(unreadable 3\)"):
        run(tmp_path / "data", tmp_path / "s.store")


@pytest.mark.parametrize("keywords", [{"batch_size": 0}, {"workers": -1}])
def test_settings_outside_their_range(challenge, run, tmp_path, keywords):
    with pytest.raises(SettingError, match="expected"):
        run(challenge, tmp_path / "s.store", **keywords)
    with pytest.raises(SettingError, match="repeats"):
        Repeats(train=-1)


def test_an_error_in_the_middle_keeps_what_was_finished(challenge, run, tiny_dinov2, tmp_path, monkeypatch):
    encoder = load_encoder("tiny", weights=tiny_dinov2)
    encode, calls = encoder.encode, iter(range(100))

    def failing(prepared):
        if next(calls) == 3:
            raise RuntimeError("device lost")
        return encode(prepared)

    monkeypatch.setattr(encoder, "encode", failing)
    path = tmp_path / "s.store"
    with pytest.raises(RuntimeError, match="device lost"):
        run(challenge, path, train=1, encoder=encoder, batch_size=4, workers=0)
    assert len(open_store(path)) == 12
    assert run(challenge, path, train=1, encoder=encoder).computed == 28 - 12
    run(challenge, tmp_path / "whole.store", train=1, encoder=encoder)
    assert_near(contents(path), contents(tmp_path / "whole.store"))


def test_a_long_run_commits_as_it_goes(challenge, run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "COMMIT_SECONDS", 0.0)
    result = run(challenge, tmp_path / "s.store")
    assert result.version == 8


def test_a_killed_run_is_resumed_and_ends_the_same(challenge, run, tissue, tmp_path):
    """A real process group, killed for real at several moments while it commits after every image."""
    for number in range(6, 90):
        tissue(challenge / "train_data", number)
    script = """
        import sys
        from featstore.extract import run
        run.COMMIT_SECONDS = 0.0
        from featstore_cli.app import app
        options = ["--encoder", "stain-texture", "--repeats", "1", "--workers", "1"]
        app(["extract", sys.argv[1], "--store", sys.argv[2], *options])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(challenge), str(tmp_path / "s.store")]
    rows = 0
    for _ in range(4):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        _wait_for_more(tmp_path / "s.store", rows, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert _is_gone(process.pid)
        store = open_store(tmp_path / "s.store")
        assert len(np.unique(store.keys)) == len(store) > rows
        rows = len(store)
    run(challenge, tmp_path / "s.store", train=1)
    run(challenge, tmp_path / "whole.store", train=1)
    assert_same(contents(tmp_path / "s.store"), contents(tmp_path / "whole.store"))


def _wait_for_more(path, rows, process) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        versions = list((path / "versions").glob("*.json")) if path.exists() else []
        if versions and len(open_store(path)) > rows + 4:
            return
        time.sleep(0.02)
    raise AssertionError("the run neither stored anything nor is it running")


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_ctrl_c_keeps_what_was_finished_and_says_so(challenge, tissue, tmp_path, number, times):
    for image in range(6, 60):
        tissue(challenge / "train_data", image)
    arguments = ["extract", str(challenge), "--store", str(tmp_path / "s.store"), "--encoder", "stain-texture"]
    process = subprocess.Popen(
        [*CLI, *arguments, "--repeats", "60", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(times):
        _wait_for_more(tmp_path / "s.store", 0, process)
        os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "What was finished is stored" in err
    assert out == ""
    assert 0 < len(open_store(tmp_path / "s.store")) < 60 * 2 * 61
    assert _is_gone(process.pid)


def test_a_real_transformer_gives_the_same_whatever_the_batch(challenge, run, tiny_dinov2, tmp_path):
    encoder = load_encoder("phikon-v2", weights=tiny_dinov2)
    run(challenge, tmp_path / "one.store", train=1, encoder=encoder, batch_size=1)
    run(challenge, tmp_path / "many.store", train=1, encoder=encoder, batch_size=9, workers=2)
    assert_near(contents(tmp_path / "one.store"), contents(tmp_path / "many.store"))


def test_killed_workers_go_with_their_run(challenge, tissue, tmp_path):
    """A main process that is killed alone takes its workers with it."""
    for number in range(6, 40):
        tissue(challenge / "train_data", number)
    arguments = ["extract", str(challenge), "--store", str(tmp_path / "s.store"), "--encoder", "stain-texture"]
    process = subprocess.Popen(
        [*CLI, *arguments, "--repeats", "40", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait_for_more(tmp_path / "s.store", 0, process)
    process.kill()
    process.wait()
    assert _is_gone(process.pid)


def test_a_test_image_that_becomes_a_training_image_meets_the_filter(challenge, run, tmp_path):
    """Whatever an image was before, the store ends as one made anew would."""
    path = challenge / "train_data" / "img_0001.png"
    image = cv2.imread(str(path))
    image[20:60, 20:60] = (40, 220, 40)
    cv2.imwrite(str(path), image)
    table = tmp_path / "one.csv"
    masks = "data/train_data/img_0001.png,data/train_data/mask_0001.png"
    other = "data/train_data/img_0002.png,data/train_data/mask_0002.png,A,train"
    for split in ("test", "train", "test"):
        table.write_text(f"image,mask,label,split\n{masks},B,{split}\n{other}\n")
        result = run(table, tmp_path / "s.store", train=1)
        fresh = run(table, tmp_path / f"{split}.store", train=1)
        assert [row["reason"] for row in result.rejected] == [row["reason"] for row in fresh.rejected]
        assert result.images == fresh.images == (1 if split == "train" else 2)
        assert len(open_store(tmp_path / "s.store").bags("all")) == result.images


def test_a_split_changed_in_the_store_is_what_repeats_follow(challenge, run, tmp_path):
    path = tmp_path / "s.store"
    run(challenge, path, train=0)
    relabel(path, [NewLabel("test_data/img_0000.png", label="A", split="train")])
    run(challenge, path, train=2)
    keys = open_store(path).keys
    assert set(keys["repeat"][keys["image"] == "test_data/img_0000.png"]) == {0, 1, 2}
    assert run(challenge, path, train=2).computed == 0


def test_images_that_went_away_and_images_that_changed_are_told(challenge, run, tissue, tmp_path):
    run(challenge, tmp_path / "s.store")
    for kind in ("img", "mask"):
        (challenge / "test_data" / f"{kind}_0001.png").unlink()
    tissue(challenge / "train_data", 3, seed=77)
    result = run(challenge, tmp_path / "s.store")
    assert (result.absent, result.replaced) == (["test_data/img_0001.png"], 1)


def test_a_run_that_could_not_begin_leaves_no_store(challenge, run, tiny_dinov2, tmp_path):
    """Else the next run, with other settings, would find a store of another recipe."""
    encoder = load_encoder("tiny", weights=tiny_dinov2)
    (tiny_dinov2 / "config.json").rename(tiny_dinov2 / "away.json")
    try:
        with pytest.raises(EncoderError):
            run(challenge, tmp_path / "s.store", encoder=encoder)
    finally:
        (tiny_dinov2 / "away.json").rename(tiny_dinov2 / "config.json")
    assert not (tmp_path / "s.store" / "versions").exists()
    run(challenge, tmp_path / "s.store")


def test_ctrl_c_is_heard_while_files_are_hashed(challenge):
    dataset = find_dataset(challenge)
    seen = []

    def check():
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    class Nothing:
        images: ClassVar = {}

        def stored(self, image, identity):
            return set()

    with pytest.raises(KeyboardInterrupt):
        plan_extraction(dataset.records, Nothing(), Repeats(), check)
    assert len(seen) == 2
