"""``store verify``, ``pack``, ``merge`` and ``vacuum`` as users type them, on a store of the sample."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from featstore.store import NewLabel, create_store, open_store, relabel


@pytest.fixture
def store(work, tmp_path) -> Path:
    """A copy of the extracted store that may be changed."""
    shutil.copytree(work / "s.store", tmp_path / "s.store")
    return tmp_path / "s.store"


def damage(store: Path) -> Path:
    """Flip a bit of a segment's first embedding."""
    source = open_store(store).state.read_segments()[0].embeddings
    content = bytearray(source.path.read_bytes())
    content[source.offset] ^= 1
    source.path.write_bytes(content)
    return source.path


def make_old(folder: Path) -> None:
    for file in folder.rglob("*"):
        os.utime(file, (0, 0))


def test_verify(store, featstore, featstore_json):
    said = featstore_json("store", "verify", store)
    assert (said["ok"], said["problems"], said["versions"], said["segments"]) == (True, [], 1, 1)
    assert said["embeddings"] >= len(open_store(store))
    assert featstore("store", "verify", store).stdout.startswith(f"{store}: all is well (1 version, 1 segment, ")


def test_verify_of_a_damaged_store(store, featstore):
    """Exit 1, the file named once, and JSON alone on stdout."""
    file = damage(store)
    result = featstore("store", "verify", store)
    assert result.exit_code == 1
    assert "1 problem" in result.stdout
    assert result.stdout.count(str(file)) == 1
    assert "checksum of embedding 0 does not match" in result.stdout
    said = featstore("store", "verify", store, "--json")
    assert said.exit_code == 1
    found = json.loads(said.stdout)
    assert not found["ok"]
    assert [problem["file"] for problem in found["problems"]] == [str(file)]


def test_verify_names_the_file_of_every_problem(store, featstore):
    """Also of those that are not about a checksum."""
    for number in range(2):
        relabel(store, [NewLabel(next(iter(open_store(store).images)), label=f"label {number}")])
    (store / "versions" / "00000002.json").unlink()
    result = featstore("store", "verify", store)
    assert result.exit_code == 1
    assert f"{store / 'versions'}: version 2 is missing" in result.stdout
    assert featstore("store", "verify", store, "--store-version", 3).exit_code == 0


def test_a_packed_store_gives_the_same_model_and_predictions(store, featstore, featstore_json, tmp_path):
    """Byte for byte: what is fitted does not depend on how the embeddings are kept."""
    said = featstore_json("store", "pack", store)
    assert said["packed"] == str(tmp_path / "s.h5")
    assert (said["version"], said["bytes"]) == (1, (tmp_path / "s.h5").stat().st_size)
    for name in ("s.store", "s.h5"):
        model, table = tmp_path / f"{name}.model", tmp_path / f"{name}.csv"
        fit = ["fit", tmp_path / name, "--model", model, "--preset", "m4", "--folds", 2]
        assert featstore(*fit).exit_code == 0
        assert featstore("predict", model, tmp_path / name, "--out", table).exit_code == 0
    for kind in ("model", "csv"):
        assert (tmp_path / f"s.store.{kind}").read_bytes() == (tmp_path / f"s.h5.{kind}").read_bytes()
    crossed = ["predict", tmp_path / "s.store.model", tmp_path / "s.h5", "--out", tmp_path / "crossed.csv"]
    assert featstore(*crossed).exit_code == 0
    assert (tmp_path / "crossed.csv").read_bytes() == (tmp_path / "s.h5.csv").read_bytes()


def test_a_packed_store_is_taken_by_every_command_that_reads(store, featstore, featstore_json, tmp_path):
    packed = tmp_path / "packed.h5"
    assert "1 version" not in featstore("store", "pack", store, "--out", packed).stdout
    folder, file = (featstore_json("store", "info", place) for place in (store, packed))
    assert {key for key in folder if folder[key] != file[key]} == {"store"}
    assert featstore_json("store", "verify", packed)["ok"]
    assert len(featstore_json("store", "log", packed)["versions"]) == 1
    assert featstore_json("store", "diff", store, packed)["same"]


def test_a_part_of_a_store(store, featstore, featstore_json, tmp_path):
    part = tmp_path / "part.h5"
    said = featstore_json("store", "pack", store, "--out", part, "--split", "train", "--repeats", 0)
    info = featstore_json("store", "info", part)
    assert (info["repeats"], list(info["splits"])) == ([0], ["train"])
    assert said["embeddings"] >= info["embeddings"] == len(open_store(store).embeddings(repeats=[0])) - info_test(store)
    text = featstore("store", "pack", store, "--out", part, "--split", "train", "--repeats", 0).stdout
    assert text.startswith(f"{part}: version 1, {said['embeddings']} embeddings, ")


def info_test(store: Path) -> int:
    """Count the clean embeddings of test images."""
    opened = open_store(store)
    keys = opened.keys[opened.keys["repeat"] == 0]
    return int(np.isin(keys["image"], list(opened.usable("test"))).sum())


def test_packing_a_packed_store_asks_for_another_name(store, featstore, tmp_path):
    """By default NAME.h5 would be written: the file that is read."""
    featstore("store", "pack", store, "--out", tmp_path / "packed.h5")
    before = (tmp_path / "packed.h5").read_bytes()
    result = featstore("store", "pack", tmp_path / "packed.h5", "--repeats", 0)
    assert result.exit_code == 1
    assert "--out" in result.stderr
    assert (tmp_path / "packed.h5").read_bytes() == before


def test_packing_the_folder_one_is_in(store, featstore, monkeypatch):
    """The file goes beside the store, by its name, never into it."""
    monkeypatch.chdir(store)
    assert featstore("store", "pack", ".").exit_code == 0
    assert (store.parent / "s.h5").is_file()
    assert not list(store.glob("*.h5"))


def test_merge(store, featstore, featstore_json, tmp_path):
    """Two parts make the whole, and a packed store becomes a folder again."""
    for split in ("train", "test"):
        featstore("store", "pack", store, "--out", tmp_path / f"{split}.h5", "--split", split)
    whole = tmp_path / "whole.store"
    said = featstore_json("store", "merge", tmp_path / "train.h5", tmp_path / "test.h5", "--into", whole)
    assert (said["store"], said["version"], said["conflicts"]) == (str(whole), 1, [])
    assert said["images"] == len(open_store(store).images)
    folder, merged = (featstore_json("store", "info", place) for place in (store, whole))
    assert {key for key in folder if folder[key] != merged[key]} == {"store"}
    np.testing.assert_array_equal(open_store(whole).embeddings(), open_store(store).embeddings())
    text = featstore("store", "merge", store, "--into", tmp_path / "copy.store").stdout
    assert "0 conflicts" in text
    again = featstore("store", "merge", store, "--into", tmp_path / "copy.store")
    assert again.exit_code == 1
    assert "copy.store" in again.stderr


def test_conflicts_are_named_and_decided_by_prefer(store, featstore, featstore_json, tmp_path):
    shutil.copytree(store, tmp_path / "other.store")
    name = next(iter(open_store(store).usable("train")))
    relabel(tmp_path / "other.store", [NewLabel(name, label="quite another")])
    command = ["store", "merge", store, tmp_path / "other.store", "--into", tmp_path / "all.store"]
    refused = featstore(*command)
    assert refused.exit_code == 1
    for word in (name, "quite another", "--prefer"):
        assert word in refused.stderr
    assert not (tmp_path / "all.store").exists()
    done = featstore(*command, "--prefer", "last")
    assert done.exit_code == 0
    assert "1 conflict" in done.stdout
    assert f"{name!r} has label" in done.stderr
    assert "the last was taken" in done.stderr
    assert open_store(tmp_path / "all.store").images[name].label == "quite another"


def test_stores_of_two_recipes_are_not_merged(store, featstore, tmp_path):
    recipe = {**open_store(store).recipe, "seed": 77}
    with create_store(tmp_path / "other.store", recipe, open_store(store).dim) as writer:
        writer.add("x", [0], [0], np.zeros((1, open_store(store).dim)))
    result = featstore("store", "merge", store, tmp_path / "other.store", "--into", tmp_path / "all.store")
    assert result.exit_code == 1
    assert f"{store} and {tmp_path / 'other.store'} are of different recipes: seed is 0 and 77" in result.stderr
    assert "Merge takes stores of one recipe" in result.stderr
    assert "--store" not in result.stderr


def test_vacuum_tells_first_and_removes_when_asked(store, featstore, featstore_json):
    litter = store / "segments" / ".tmp-0123456789abcdef"
    litter.write_bytes(b"x" * 1500)
    young = featstore("store", "vacuum", store)
    assert "0 files would be removed" in young.stdout
    assert "1 file too young, see --grace-hours" in young.stdout
    make_old(store)
    told = featstore("store", "vacuum", store)
    assert "1 file would be removed, 1.5 kB" in told.stdout
    assert "--apply" in told.stdout
    assert litter.exists()
    said = featstore_json("store", "vacuum", store, "--apply")
    assert (said["applied"], said["files"], said["bytes"], said["waiting"]) == (True, [str(litter)], 1500, 0)
    assert not litter.exists()
    assert featstore_json("store", "verify", store)["ok"]


@pytest.mark.parametrize("hours", [0, 0.9, 1])
@pytest.mark.parametrize("apply", [True, False])
def test_vacuum_warns_of_a_short_time_of_grace(store, featstore, hours, apply):
    result = featstore("store", "vacuum", store, "--grace-hours", hours, *(["--apply"] if apply else []), "--json")
    warned = "a writer that is about to commit may lose its work" in result.stderr
    assert warned == (apply and hours < 1)
    assert result.stderr.count("\n") == warned
    assert json.loads(result.stdout)["applied"] == apply


def test_vacuum_compacts_and_forgets_old_versions(store, featstore, featstore_json, tmp_path):
    for number in range(4):
        with create_store(store, open_store(store).recipe, open_store(store).dim) as writer:
            writer.add(f"more {number}.png", [0], [0], np.zeros((1, writer._base.dim)), label="A")
    before = featstore_json("store", "info", store)
    told = featstore("store", "vacuum", store, "--compact")
    assert "5 segments would become 1" in told.stdout
    shutil.copytree(store, tmp_path / "young.store")
    young = featstore("store", "vacuum", tmp_path / "young.store", "--compact", "--keep-versions", 1, "--apply").stdout
    assert "0 files removed" in young
    assert "5 versions too young, see --grace-hours" in young
    shutil.copytree(store, tmp_path / "kept.store")
    kept = featstore("store", "vacuum", tmp_path / "kept.store", "--compact", "--apply").stdout
    assert "Earlier versions still need the old segments" in kept
    assert "embeddings rewritten, " in featstore("store", "log", tmp_path / "kept.store").stdout.splitlines()[0]
    done = featstore("store", "vacuum", store, "--compact", "--keep-versions", 1, "--grace-hours", 0, "--apply")
    assert done.exit_code == 0
    assert "5 segments became 1 in version 6" in done.stdout
    assert "versions 1 to 5 removed" in done.stdout
    after = featstore_json("store", "info", store)
    assert {key for key in before if before[key] != after[key]} == {"version"}
    assert len(list((store / "segments").iterdir())) == 1
    gone = featstore("store", "info", store, "--store-version", 2)
    assert gone.exit_code == 1
    assert "no version 2" in gone.stderr
    assert "1 segment stays as it is" in featstore("store", "vacuum", store, "--compact").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["verify", "nowhere.store"], 1, "nowhere.store"),
        (["verify", "s.store", "--store-version", "9"], 1, "no version 9"),
        (["pack", "nowhere.store"], 1, "nowhere.store"),
        (["pack", "s.store", "--out", "nowhere/x.h5"], 1, "nowhere"),
        (["pack", "s.store", "--split", "validation"], 2, "'train', 'test', 'all'"),
        (["pack", "s.store", "--repeats", "-1"], 2, "--repeats"),
        (["merge", "s.store"], 2, "--into"),
        (["merge", "--into", "x.store"], 2, "stores"),
        (["merge", "s.store", "--into", "x.store", "--prefer", "second"], 2, "first"),
        (["vacuum", "nowhere.store"], 1, "nowhere.store"),
        (["vacuum", "s.store", "--keep-versions", "0"], 2, "--keep-versions"),
        (["vacuum", "s.store", "--grace-hours", "-1"], 2, "--grace-hours"),
    ],
)
def test_wrong_use_and_missing_things(store, featstore, monkeypatch, arguments, code, words):
    monkeypatch.chdir(store.parent)
    result = featstore("store", *arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in store.parent.iterdir()) == ["s.store"]


@pytest.mark.parametrize("command", ["verify", "pack", "merge", "vacuum"])
def test_help_has_examples(featstore, command):
    result = featstore("store", command, "--help")
    assert result.exit_code == 0
    assert f"featstore store {command}" in result.stdout
