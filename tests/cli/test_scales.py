"""Several scales from one command to the next."""

from __future__ import annotations

import re

import pytest

from featstore.store import open_store

EXTRACT = ("--encoder", "stain-texture", "--workers", 0)


@pytest.fixture(scope="module")
def scaled(small_data, featstore_json, tmp_path_factory):
    path = tmp_path_factory.mktemp("scales") / "s.store"
    told = featstore_json("extract", small_data, "--store", path, *EXTRACT, "--scales", "1,2", "--tiles", 64)
    assert_counted(told, path)
    return path


def assert_counted(told, path) -> None:
    """Blobs are blobs, as in a store of one scale; their crops are counted beside them."""
    scale = open_store(path).blobs["scale"]
    assert (told["blobs"], told["crops"], told["scales"]) == ((scale == 1).sum(), len(scale), [1, 2, 0])


def test_blobs_are_counted_and_not_their_crops(scaled, small_data, featstore, featstore_json) -> None:
    assert_counted(featstore_json("store", "info", scaled), scaled)
    told = featstore("store", "info", scaled).stdout
    assert "scales       1, 2, tiles" in told
    again = ("extract", small_data, "--store", scaled, *EXTRACT, "--scales", "1,2", "--tiles", 64)
    scale = open_store(scaled).blobs["scale"]
    wanted = f"{(scale == 1).sum()} blobs in {len(scale)} crops"
    for options in ((), ("--dry-run",)):
        assert wanted in featstore(*again, *options).stdout


def test_a_model_of_some_scales_predicts_by_them(scaled, featstore_json, tmp_path) -> None:
    assert open_store(scaled).recipe["crops"]["scales"] == [1, 2]
    quick = ("--preset", "m4", "--folds", 3)
    for number, scales in enumerate(("1", "1+2", "1:2", "1+tiles")):
        model, out = tmp_path / f"{number}.model", tmp_path / f"{number}.csv"
        featstore_json("fit", scaled, *quick, "--scales", scales, "--model", model)
        assert featstore_json("predict", model, scaled, "--out", out)["images"] == 8
    assert len({(tmp_path / f"{number}.csv").read_text() for number in range(4)}) == 4


def test_scale_1_of_several_learns_what_it_does_alone(scaled, small_data, featstore_json, tmp_path) -> None:
    featstore_json("extract", small_data, "--store", tmp_path / "alone.store", *EXTRACT)
    quick = ("--preset", "m4", "--folds", 3, "--inner-folds", 2)
    one = featstore_json("evaluate", scaled, *quick, "--scales", "1", "--out", tmp_path / "a.csv")
    alone = featstore_json("evaluate", tmp_path / "alone.store", *quick, "--out", tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert (one["scales"], alone["scales"]) == ("1", None)


def test_another_store_is_compared_by_all_that_it_has_and_not_by_the_scales_of_this_one(
    scaled, small_data, featstore, featstore_json, tmp_path
) -> None:
    plain = tmp_path / "plain.store"
    featstore_json("extract", small_data, "--store", plain, *EXTRACT)
    quick = ("evaluate", scaled, "--preset", "m4", "--folds", 3, "--inner-folds", 2, "--scales", "2")
    assert not {"crops", "scales"} & featstore_json("store", "info", plain).keys()
    found = featstore_json(*quick, "--against", plain)
    assert (found["scales"], found["against_scales"]) == ("2", None)
    same = featstore_json(*quick, "--against-scales", "1")
    assert same["against_scales"] == "1"
    assert same["comparison"] == found["comparison"]
    told = " ".join(featstore(*quick, "--against", plain).stdout.split())
    assert f"Less {plain}, m4, on the same images" in told
    result = featstore(*quick, "--against", plain, "--against-scales", "1:2")
    assert result.exit_code == 1
    assert f"--against-scales: {plain} has no crops at scale 2; expected some of scale 1" in " ".join(
        result.stderr.split()
    )


def test_scales_are_compared(scaled, featstore, featstore_json, tmp_path) -> None:
    quick = ("--preset", "m4", "--folds", 3, "--inner-folds", 2, "--scales", "1")
    found = featstore_json("evaluate", scaled, *quick, "--against-scales", "1:2")
    assert set(found["comparison"]["macro_f1"]) == {"difference", "std", "ci_low", "ci_high"}
    told = featstore("evaluate", scaled, *quick, "--against-scales", "1:2").stdout
    assert "m4, scales 1, on " in told
    assert ", m4, scales 1:2, on the same images" in told


def test_a_sweep_has_a_row_for_each_way_to_use_scales(scaled, featstore, tmp_path) -> None:
    asked = ("--scales", "1,2,1+2,1:2,tiles", "--presets", "m4", "--folds", 3, "--seeds", 1)
    result = featstore("sweep", scaled, *asked, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    rows = [line.split()[0] for line in result.stdout.splitlines()[2:7]]
    assert rows == ["1", "2", "1+2", "1:2", "tiles"]
    assert "scales" in (tmp_path / "sweep.csv").read_text().splitlines()[0].split(",")
    assert (tmp_path / "sweep.png").exists()


def test_crops_that_overlap_are_not_explained(scaled, small_data, featstore, featstore_json, tmp_path) -> None:
    model, out = tmp_path / "s.model", tmp_path / "maps"
    featstore_json("fit", scaled, "--preset", "m4", "--folds", 3, "--model", model)
    result = featstore("explain", model, small_data / "test_data/img_0000.png", "--store", scaled, "--out", out)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "crops at scales 1, 2 and tiles of 64 px" in said
    assert "Extract one without --scales and --tiles" in said
    assert not out.exists()


@pytest.mark.parametrize("scales", [(), ("--scales", "2"), ("--scales", "1:2"), ("--scales", "1:tiles")])
def test_a_report_explains_errors_by_blobs_with_all_their_crops(
    scaled, small_data, featstore_json, tmp_path, scales
) -> None:
    model, out = tmp_path / "s.model", tmp_path / "r.html"
    featstore_json("fit", scaled, "--preset", "m4", "--folds", 3, "--model", model, *scales)
    told = featstore_json("report", scaled, "--model", model, "--data", small_data, "--out", out, "--errors", 3)
    assert "crops of several scales" in told["why_no_heatmaps"]
    part = out.read_text("utf-8").split('<section id="errors"')[1].split("</section>")[0]
    assert part.count("data:image/webp") == part.count("<li>") == 3
    assert "no contributions" not in part
    rows = re.findall(r'<tr><td class="n">(\d+)</td><td>(.*?)</td>', part)
    assert all(re.fullmatch(r"scales 1, 2; \d+ tiles?", crops) for _, crops in rows)
    assert len(rows) >= 3


@pytest.mark.parametrize("command", ["fit", "evaluate", "sweep"])
def test_scales_that_are_not_stored_are_told_before_any_work(scaled, featstore, command) -> None:
    result = featstore(command, scaled, "--scales", "4")
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert f"--scales: {scaled} has no crops at scale 4; expected some of scale 1, scale 2, tiles" in said


@pytest.mark.parametrize("scales", ["", "0", "1:2+4", "1:1", "one", "1+", "1:tiles:tiles"])
def test_what_is_no_scales_is_refused(scaled, featstore, scales) -> None:
    assert featstore("fit", scaled, "--scales", scales).exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--scales", "1,x"),
        ("--scales", ""),
        ("--mpp", "0.5"),
        ("--tile-tissue", "0.5"),
        ("--tiles", "8"),
        ("--tiles", "64", "--mpp", "0"),
        ("--tiles", "64", "--mpp", "nan"),
        ("--scales", "2,1"),
    ],
)
def test_what_is_no_scales_of_an_extraction_is_wrong_usage(small_data, featstore, tmp_path, options) -> None:
    result = featstore("extract", small_data, "--store", tmp_path / "x.store", *EXTRACT, *options)
    assert result.exit_code == 2, result.output


def test_images_without_resolution_are_told(small_data, featstore, tmp_path) -> None:
    options = ("--tiles", 64, "--mpp", 0.5)
    result = featstore("extract", small_data, "--store", tmp_path / "x.store", *EXTRACT, *options)
    assert result.exit_code == 1
    assert "38 of 38 images of unknown resolution" in " ".join(result.stderr.split())
    assert not (tmp_path / "x.store").exists()
