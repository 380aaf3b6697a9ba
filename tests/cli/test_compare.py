"""``store diff`` and what ``store verify --deep`` makes again, on stores of the sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from featstore.errors import DataError, RecipeMismatchError, SettingError
from featstore.store import create_store, open_store
from featstore.store.compare.sample import sample_keys
from featstore_cli import compare


def copied(source: Path, target: Path, *, recipe=None, change=lambda rows: rows, how=None) -> Path:
    """Write a store anew through the public interface: rows changed, or another recipe claimed."""
    store = open_store(source)
    keys, rows = store.keys, change(store.embeddings())
    with create_store(target, recipe or store.recipe, store.dim, operation="extract") as writer:
        writer.how.update(how or {})
        for name, row in store.images.items():
            facts = {
                field: getattr(row, field) for field in ("sample_index", "label", "split", "sha256", "mask_sha256")
            }
            facts |= {field: getattr(row, field) for field in ("position", "source", "blobs", "reason", "artefact")}
            chosen = keys["image"] == name
            if chosen.any():
                writer.add(name, keys["blob"][chosen], keys["repeat"][chosen], rows[chosen], facts=facts)
            else:
                writer.register(name, **facts)
    return target


def nudged(rows: np.ndarray) -> np.ndarray:
    """As another device would give them: the last digits differ."""
    return rows * np.float32(1 + 1e-6)


def test_a_store_and_its_copy(work, featstore, featstore_json, tmp_path):
    copy = copied(work / "s.store", tmp_path / "copy.store")
    found = featstore_json("store", "diff", work / "s.store", copy)
    embeddings = open_store(work / "s.store").info()["embeddings"]
    assert found["same"]
    assert found["cosines"]["identical"] == found["shared"] == embeddings
    assert featstore("store", "diff", work / "s.store", copy).stdout.splitlines()[-1] == "nothing differs"


def test_two_devices(work, featstore, featstore_json, tmp_path):
    """One fingerprint, tiny differences: what ``store diff cuda.store mps.store`` is for."""
    a = copied(
        work / "s.store", tmp_path / "cuda.store", how={"device": "cuda:0 (NVIDIA H200)", "precision": "float16"}
    )
    b = copied(work / "s.store", tmp_path / "mps.store", change=nudged, how={"device": "mps", "precision": "float16"})
    result = featstore("store", "diff", a, b)
    assert result.exit_code == 0, result.output
    assert "computed with: device cuda:0 (NVIDIA H200) in a, mps in b" in result.stdout
    assert "precision" not in result.stdout
    assert "recipe" not in result.stdout
    assert "cosine: min " in result.stdout
    assert "cosine: min 1," not in result.stdout, "what is a little less than 1 must not look like 1"
    found = featstore_json("store", "diff", a, b)
    assert found["recipe"] == []
    assert 1 - 1e-9 < found["cosines"]["min"] <= found["cosines"]["quantiles"]["0.5"] <= 1
    assert found["cosines"]["identical"] < found["cosines"]["count"]
    assert len(found["worst"]) == 5


def test_two_versions_of_a_store(work, featstore, featstore_json, tmp_path):
    store = tmp_path / "s.store"
    shutil.copytree(work / "s.store", store)
    result = featstore("store", "diff", store)
    assert result.exit_code == 1
    assert "version 1 has none before it" in result.stderr
    (tmp_path / "labels.csv").write_text("sample_index,label\nimg_0000.png,Luminal Z\n")
    featstore_json("store", "label", tmp_path / "labels.csv", store)
    for arguments in ([], ["--version-a", 1], [store, "--version-a", 1, "--version-b", 2]):
        lines = featstore("store", "diff", store, *arguments).stdout.splitlines()
        assert ", version 1," in lines[0]
        assert ", version 2," in lines[1]
        assert any(line.startswith("other label: 1 image (train_data/img_0000.png: ") for line in lines)
        assert not any("nothing differs" in line for line in lines)


def test_two_recipes(work, featstore, tmp_path):
    recipe = open_store(work / "s.store").recipe
    other = copied(work / "s.store", tmp_path / "other.store", recipe={**recipe, "seed": 7})
    with create_store(tmp_path / "short.store", {"encoder": {"name": "mine"}}, 3) as writer:
        writer.add("x.png", [0], [0], [[1, 2, 3]])
    lines = featstore("store", "diff", work / "s.store", other).stdout.splitlines()
    assert "recipe: seed is 0 in a, 7 in b" in lines
    lines = featstore("store", "diff", work / "s.store", tmp_path / "short.store").stdout.splitlines()
    assert "no cosines: an embedding has 215 numbers in a, 3 in b" in lines
    assert "only in b: 1 image (x.png)" in lines
    assert "only in b: 1 embedding (x.png, blob 0, repeat 0)" in lines


def test_a_store_that_is_not_there(work, featstore, tmp_path):
    result = featstore("store", "diff", work / "s.store", tmp_path / "none.store")
    assert result.exit_code == 1
    assert "none.store" in result.stderr
    assert "Traceback" not in result.output


def test_a_sample_made_again_is_bit_identical(work, small_data):
    result = compare.deep(open_store(work / "s.store"), small_data)
    assert (result["sample"], result["identical"], result["problems"]) == (32, 32, [])
    assert result["min"] == result["mean"] == 1.0
    assert result["worst"] is None
    json.dumps(result, allow_nan=False)
    assert list(compare.deep_lines(result)) == [
        "32 embeddings made again (cpu, float32), 32 bit-identical",
        "cosine min 1, mean 1",
    ]


def test_a_seed_that_was_tampered_with_is_caught(work, small_data, tmp_path):
    recipe = open_store(work / "s.store").recipe
    forged = copied(work / "s.store", tmp_path / "forged.store", recipe={**recipe, "seed": 1})
    result = compare.deep(open_store(forged), small_data)
    (problem,) = result["problems"]
    assert "none of them a clean crop" in problem
    assert result["worst"]["repeat"] == 1
    assert result["worst"]["image"] in problem
    assert result["min"] == result["worst"]["cosine"] < 0.999
    assert result["identical"] == (sample_keys(open_store(forged), 32).keys["repeat"] == 0).sum() < 32
    assert list(compare.deep_lines(result))[-1].startswith(f"worst {result['worst']['image']}, blob ")


def test_embeddings_that_were_tampered_with_are_caught(work, small_data, tmp_path):
    forged = copied(work / "s.store", tmp_path / "forged.store", change=lambda rows: np.roll(rows, 1, axis=0))
    (problem,) = compare.deep(open_store(forged), small_data)["problems"]
    assert "clean crops" in problem


def test_the_smallest_cosine_is_the_users_to_choose(work, small_data, tmp_path):
    store = open_store(copied(work / "s.store", tmp_path / "b.store", change=lambda rows: rows + np.float32(1e-3)))
    assert compare.deep(store, small_data)["problems"] == []
    assert len(compare.deep(store, small_data, sample=8, min_cosine=1.0)["problems"]) == 1


def test_changed_images_and_unreachable_keys_are_problems_that_name_them(work, small_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    store = open_store(work / "s.store")
    name = str(store.keys["image"][0])
    (data / name).write_bytes((data / name).read_bytes() + b"\0")
    result = compare.deep(store, data, sample=10**6)
    (problem,) = result["problems"]
    assert f"{name} (the image has changed)" in problem
    assert (result["min"], result["worst"]) == (None, None)
    recipe = {**store.recipe, "crops": {**store.recipe["crops"], "max_blobs": 1}}
    forged = copied(work / "s.store", tmp_path / "forged.store", recipe=recipe)
    (problem,) = compare.deep(open_store(forged), small_data, sample=10**6)["problems"]
    assert "the recipe does not lead to blob" in problem


def test_data_that_are_not_there_are_an_error_and_no_problem_of_the_store(work, tmp_path):
    with pytest.raises(DataError, match="nowhere is not there"):
        compare.deep(open_store(work / "s.store"), tmp_path / "nowhere")


def test_embeddings_from_elsewhere_cannot_be_made_again(small_data, tmp_path):
    with create_store(tmp_path / "mine.store", {"encoder": {"name": "mine", "dim": 2}}, 2) as writer:
        writer.add("x.png", [0], [0], [[1, 2]])
    with pytest.raises(SettingError, match=r"mine\.store: these embeddings can't be made again.*'crops'.*--deep"):
        compare.deep(open_store(tmp_path / "mine.store"), small_data)


def test_an_export_that_is_imported_again(work, small_data, featstore, tmp_path):
    """It has no digests of its images: names alone are compared, and nothing can be made again."""
    featstore("store", "export", work / "s.store", "--out", tmp_path / "s.npz")
    featstore("store", "import", tmp_path / "s.npz", "--store", tmp_path / "again.store", "--keep-recipe")
    text = featstore("store", "diff", work / "s.store", tmp_path / "again.store").stdout
    assert "other content" not in text
    assert "content of images not compared, names alone: no digests in b" in text
    count = len(open_store(work / "s.store"))
    assert f"compared: {count} embeddings of the same name, {count} identical" in text
    result = featstore("store", "verify", tmp_path / "again.store", "--deep", "--data", small_data)
    assert result.exit_code == 1
    assert "has no digests of its images" in result.stderr
    assert "not what was embedded:" not in result.output


def test_weights_that_are_not_the_recipes(work, small_data, tmp_path):
    recipe = open_store(work / "s.store").recipe
    encoder = {**recipe["encoder"], "version": recipe["encoder"]["version"] + 1}
    newer = copied(work / "s.store", tmp_path / "newer.store", recipe={**recipe, "encoder": encoder})
    with pytest.raises(RecipeMismatchError, match="version is 1, in the recipe 2"):
        compare.deep(open_store(newer), small_data)
    with pytest.raises(SettingError, match="stain-texture has no weights"):
        compare.deep(open_store(work / "s.store"), small_data, weights=tmp_path)
