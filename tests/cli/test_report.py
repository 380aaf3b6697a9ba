from __future__ import annotations

import json
import re
import shutil

import pytest

from featstore.store import open_store


@pytest.fixture(scope="module")
def made(work, small_data, featstore_json, tmp_path_factory) -> dict:
    """A report of everything, and what the command printed of it."""
    out = tmp_path_factory.mktemp("report") / "report.html"
    told = featstore_json("report", work / "s.store", "--model", work / "m.model", "--data", small_data, "--out", out)
    return told | {"html": out.read_text("utf-8")}


def test_it_tells_what_it_wrote(made) -> None:
    assert made["bytes"] == len(made["html"].encode())
    assert made["sections"] == ["data", "scores", "map", "errors", "neighbours"]
    assert made["model"] == "m.model"
    assert made["thumbnails"] >= made["images"]
    assert made["notes"] == []
    assert "stain-texture describes a crop as a whole" in made["why_no_heatmaps"]


def test_what_was_left_out_is_there_with_its_reason_and_picture(made, work, featstore_json) -> None:
    left_out = featstore_json("store", "info", work / "s.store")["left_out"]
    assert left_out > 0
    part = made["html"].split(">Left out</h3>")[1].split("How it was made")[0]
    assert len(re.findall(r'class="thumb t\d+"', part)) == left_out
    assert "contaminated_green" in part


def test_errors_are_drawn_with_the_contributions_of_their_blobs(made) -> None:
    part = made["html"].split('<section id="errors"')[1].split("</section>")[0]
    assert part.count("data:image/webp") == part.count("<li>") > 0


def test_the_same_store_makes_the_same_page(made, work, small_data, featstore, tmp_path) -> None:
    out = tmp_path / "again.html"
    asked = ("report", work / "s.store", "--model", work / "m.model", "--data", small_data, "--out", out)
    result = featstore(*asked)
    assert result.exit_code == 0, result.output
    assert out.read_text("utf-8") == made["html"]
    assert "again.html" in result.stdout


def test_alone_it_has_the_parts_of_the_data_and_says_so(work, featstore, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = featstore("report", work / "s.store")
    assert result.exit_code == 0, result.output
    assert "there is no ensemble.model" in result.stderr
    assert "--data names the images" in result.stderr
    html = (tmp_path / "report.html").read_text("utf-8")
    assert '<section id="errors"' not in html
    assert "there is no ensemble.model" in html


def test_model_and_data_are_found_where_the_other_commands_leave_them(
    work, small_data, featstore_json, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(work / "m.model", "ensemble.model")
    shutil.copytree(small_data, "data")
    shutil.copytree(work / "s.store", "embeddings.store")
    told = featstore_json("report", "--errors", 1)
    assert told["model"] == "ensemble.model"
    assert told["thumbnails"] > 0


def test_a_heatmap_where_the_weights_are_named(small_data, tiny_dinov2, featstore_json, tmp_path) -> None:
    how = ("--weights", tiny_dinov2, "--device", "cpu")
    store, model, out = tmp_path / "p.store", tmp_path / "p.model", tmp_path / "r.html"
    featstore_json("extract", small_data, "--store", store, *how, "--precision", "float32")
    featstore_json("fit", store, "--model", model, "--folds", 2)
    asked = ("report", store, "--model", model, "--data", small_data, "--errors", 2, "--out", out)
    assert "the weights of tiny" not in featstore_json(*asked, *how)["why_no_heatmaps"]
    drawn = out.read_bytes()
    assert "not on this machine" in featstore_json(*asked)["why_no_heatmaps"]
    assert out.read_bytes() != drawn


def test_an_estimate_is_taken_from_evaluate(work, featstore, featstore_json, tmp_path) -> None:
    estimate = featstore_json("evaluate", work / "s.store", "--preset", "m4", "--folds", 3, "--inner-folds", 2)
    path, out = tmp_path / "e.json", tmp_path / "r.html"
    path.write_text(json.dumps(estimate))
    asked = ("report", work / "s.store", "--model", work / "m.model", "--evaluation", path, "--out", out)
    assert featstore(*asked).exit_code == 0
    assert f"Macro-F1 {estimate['macro_f1']['mean']:.3f}" in out.read_text("utf-8")
    assert estimate["versions"] == [1]
    assert (estimate["repeats"], estimate["labels"]) == (1, None)
    assert "can't be checked" not in out.read_text("utf-8")
    assert "It is of the preset m4 on all crops; the model on this page is the preset m5" in out.read_text("utf-8")
    path.write_text(json.dumps(estimate | {"fingerprint": "another"}))
    result = featstore(*asked)
    assert result.exit_code == 1
    assert "fingerprint another" in result.stderr


def test_a_sweep_is_taken_as_long_as_it_is_of_these_labels(work, featstore, featstore_json, tmp_path) -> None:
    store = tmp_path / "s.store"
    shutil.copytree(work / "s.store", store)
    quick = ("--presets", "m4", "--folds", 3, "--seeds", 1, "--repeats", 0, "--out", tmp_path / "swept")
    (row,) = featstore_json("sweep", store, *quick)["rows"]
    asked = ("report", store, "--sweep", tmp_path / "swept", "--out", tmp_path / "r.html")
    assert featstore(*asked).exit_code == 0
    assert f"{row['images']} images" in (tmp_path / "r.html").read_text("utf-8")
    label = next(image.label for image in open_store(store).usable("train").values())
    (tmp_path / "l.csv").write_text(f"sample_index,label\nimg_0003.png,{label}x\n")
    assert featstore("store", "label", tmp_path / "l.csv", store).exit_code == 0
    result = featstore(*asked)
    assert result.exit_code == 1
    assert "--store-version 1" in " ".join(result.stderr.split())
    assert featstore(*asked, "--store-version", 1).exit_code == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--out", "missing/report.html"], 1, "its folder is not there"),
        (["--out", "s.store/report.html"], 2, "what this command reads"),
        (["--model", "nothing.model"], 1, "nothing.model"),
        (["--data", "nothing"], 1, "nothing"),
        (["--evaluation", "s.store"], 1, "can't be read"),
        (["--sweep", "nothing.csv"], 1, "can't be read"),
        (["--store-version", "99"], 1, "99"),
        (["--errors", "-1"], 2, "--errors"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(work, featstore, monkeypatch, tmp_path, options, code, said) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.store").symlink_to(work / "s.store")
    result = featstore("report", "s.store", *options)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "report.html").exists()


def test_a_page_takes_the_place_of_a_page_and_of_nothing_else(
    work, small_data, featstore, tmp_path, monkeypatch
) -> None:
    """Whatever the command reads, or somebody else wrote, stays; an empty file holds nothing."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_data, "data")
    shutil.copy(work / "m.model", "ensemble.model")
    for name in ("data/study.csv", "notes.html", "swept/sweep.csv", "swept/reproduction.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("image\ntrain_data/img_0000.png\n")
    (tmp_path / "link.html").symlink_to("notes.html")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out, options in (
        ("ensemble.model", []),
        ("data/study.csv", ["--data", "data/study.csv"]),
        ("data/train_data/img_0000.png", []),
        ("data/train_labels.csv", []),
        ("swept/sweep.csv", ["--sweep", "swept"]),
        ("swept/reproduction.json", ["--reproduction", "swept"]),
        ("notes.html", []),
        ("link.html", []),
    ):
        result = featstore("report", work / "s.store", "--out", out, *options)
        assert result.exit_code == 2, (out, result.output)
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "page.html").touch()
    for _ in range(2):
        assert featstore("report", work / "s.store", "--out", "page.html", "--errors", 0).exit_code == 0
    assert b"<h1>" in (tmp_path / "page.html").read_bytes()
