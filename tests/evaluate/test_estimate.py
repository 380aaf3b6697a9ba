from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from featstore.errors import DataError
from featstore.evaluate import METRICS, Evaluation, compare


def made_up(good: float, seed: int = 0, *, n_images: int = 90, n_seeds: int = 2) -> Evaluation:
    """Predictions of one model; the images are the same whatever the seed."""
    codes = np.arange(n_images) % 3
    hard = np.random.default_rng(99).normal(size=(n_images, 3))
    noise = np.random.default_rng(seed).normal(size=(n_seeds, n_images, 3))
    logits = good * np.eye(3)[codes] + hard + 0.3 * noise
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    names = np.array([f"img_{number:04d}.png" for number in range(n_images)])
    folds = np.tile(np.arange(n_images) % 5, (n_seeds, 1))
    classes = np.array(["A", "B, or not", "C"])
    return Evaluation(names, names, classes, codes, folds, probabilities, np.full((n_seeds, 5), 0.9))


def test_figures_are_means_over_seeds_within_their_intervals() -> None:
    evaluation = made_up(1.5)
    for name, figure in evaluation.figures().items():
        values = [seed[name] for seed in evaluation.per_seed]
        assert figure["mean"] == pytest.approx(np.mean(values))
        assert figure["std"] == pytest.approx(np.std(values, ddof=1))
        assert figure["ci_low"] <= figure["mean"] <= figure["ci_high"]
    assert np.isnan(made_up(1.5, n_seeds=1).figures()["accuracy"]["std"])
    assert made_up(1.5, n_seeds=1).to_dict()["accuracy"]["std"] is None


def test_the_calibration_error_of_a_calibrated_model_lies_in_its_interval() -> None:
    """Resampling makes it larger: percentiles of resamples would lie above it."""
    inside = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        probabilities = rng.dirichlet(np.ones(3), size=(1, 150))
        codes = np.array([rng.choice(3, p=row) for row in probabilities[0]])
        evaluation = replace(made_up(1.0, n_images=150, n_seeds=1), probabilities=probabilities, codes=codes)
        figure = evaluation.figures()["ece"]
        inside += 0 <= figure["ci_low"] <= figure["mean"] <= figure["ci_high"]
    assert inside == 20


def test_a_rare_class_that_a_resample_lacks_does_not_raise_the_interval() -> None:
    """Without the two images of class C, which are never right, the macro-F1 would be that of A and B."""
    evaluation = made_up(3.0, n_seeds=1)
    codes = np.where(np.arange(90) < 2, 2, np.arange(90) % 2)
    sure = np.tile(np.eye(3)[np.where(codes == 2, 0, codes)] * 0.98 + 0.01, (1, 1, 1))
    figure = replace(evaluation, codes=codes, probabilities=sure).figures()["macro_f1"]
    assert figure["mean"] < 0.67
    assert figure["ci_high"] < 0.68


def test_an_interval_is_narrower_with_more_images_and_wider_where_images_are_twins() -> None:
    few, many = made_up(1.5), made_up(1.5, n_images=900)
    twins = replace(many, groups=np.array([f"twin {number // 10}" for number in range(900)]))
    widths = [f["ci_high"] - f["ci_low"] for f in (e.figures()["accuracy"] for e in (few, many))]
    assert widths[0] == pytest.approx(widths[1] * 10**0.5, rel=0.25)
    # Ten at a time that have nothing in common are as many pieces of evidence as before.
    alike = replace(twins, codes=many.codes, probabilities=few.probabilities[:, np.arange(900) // 10])
    alike = replace(alike, codes=few.codes[np.arange(900) // 10])
    wide = alike.figures()["accuracy"]
    assert wide["ci_high"] - wide["ci_low"] == pytest.approx(widths[0], rel=0.1)


def test_the_better_of_two_is_told_and_a_model_is_no_better_than_itself() -> None:
    good, bad = made_up(2.5), made_up(1.0, 1)
    found = compare(good, bad)
    assert found["macro_f1"]["ci_low"] > 0
    assert found["log_loss"]["ci_high"] < 0
    assert all(value == 0 for figure in compare(good, good).values() for value in figure.values())
    back = compare(bad, good)
    for name in METRICS:
        assert back[name]["difference"] == pytest.approx(-found[name]["difference"])
        assert back[name]["ci_low"] == pytest.approx(-found[name]["ci_high"])


def test_a_pair_is_told_apart_where_two_intervals_overlap() -> None:
    """The images that are hard are hard for both."""
    one, other = made_up(1.5), made_up(1.9, 1)
    overlap = one.figures()["log_loss"]["ci_low"] < other.figures()["log_loss"]["ci_high"]
    assert overlap
    assert compare(one, other)["log_loss"]["ci_low"] > 0


def test_the_order_of_the_images_makes_no_difference() -> None:
    one, other = made_up(1.5), made_up(1.9, 1)
    mixed = np.random.default_rng(0).permutation(90)
    shuffled = replace(
        other,
        images=other.images[mixed],
        groups=other.groups[mixed],
        codes=other.codes[mixed],
        folds=other.folds[:, mixed],
        probabilities=other.probabilities[:, mixed],
    )
    assert compare(one, shuffled) == compare(one, other)


def test_other_images_or_labels_are_refused() -> None:
    one, other = made_up(1.5), made_up(1.9)
    with pytest.raises(DataError, match=r"different images \(2 are in one of them alone\)"):
        compare(one, replace(other, images=np.append(other.images[:-1], "another.png")))
    with pytest.raises(DataError, match="different labels"):
        compare(one, replace(other, codes=(other.codes + 1) % 3))


def test_everything_is_told_as_json() -> None:
    evaluation = replace(made_up(1.5), selection_macro_f1=np.full((2, 5), np.nan))
    content = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert {*METRICS, "per_class", "per_seed", "selection_macro_f1"} <= set(content)
    assert content["selection_macro_f1"] is None
    assert set(content["macro_f1"]) == {"mean", "std", "ci_low", "ci_high"}
    assert content["per_class"]["A"]["images"] == 30
    assert (
        content["per_class"]["A"]["f1_ci_low"]
        < content["per_class"]["A"]["f1"]
        < content["per_class"]["A"]["f1_ci_high"]
    )


def test_predictions_are_written_a_row_for_each_image_and_seed(tmp_path) -> None:
    evaluation = made_up(1.5)
    evaluation.write_csv(tmp_path / "e.csv")
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 90
    assert rows[91]["image"] == "img_0001.png"
    assert rows[91]["label"] == "B, or not"
    assert float(rows[91]["prob_C"]) == pytest.approx(evaluation.probabilities[1, 1, 2], abs=1e-6)
    assert sum(row["label"] == row["predicted"] for row in rows[:90]) / 90 == evaluation.per_seed[0]["accuracy"]
