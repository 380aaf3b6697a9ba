from __future__ import annotations

import numpy as np
import pytest

from featstore.evaluate import bootstrap, interval, resampled_weights, widened


def all_weights(groups: np.ndarray, n_resamples: int, seed: int = 0) -> np.ndarray:
    return np.concatenate(list(resampled_weights(groups, n_resamples, seed)))


def test_without_groups_each_resample_has_as_many_images() -> None:
    weights = all_weights(np.arange(30), 500)
    assert weights.shape == (500, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(30), abs=0.25)
    assert weights.var() == pytest.approx(1 - 1 / 30, abs=0.05)


def test_images_of_a_group_come_and_go_together() -> None:
    groups = np.array(["a", "b", "a", "c", "c", "c", "d"])
    weights = all_weights(groups, 200)
    for name in "abcd":
        assert (np.ptp(weights[:, groups == name], axis=1) == 0).all()
    first_of_each = weights[:, [0, 1, 3, 6]]
    assert (first_of_each.sum(axis=1) == 4).all()


def test_the_same_seed_draws_the_same_however_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = all_weights(np.arange(11), 50, 3)
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 40)
    np.testing.assert_array_equal(all_weights(np.arange(11), 50, 3), whole)
    assert not np.array_equal(all_weights(np.arange(11), 50, 4), whole)


def test_the_interval_is_the_middle_of_the_values() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.arange(1001.0), level=0.5) == pytest.approx((250, 750))
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1, 1)


def test_widening_keeps_the_middle_and_goes_as_far_as_nadeau_and_bengio_say() -> None:
    low, high = widened(0.5, (0.4, 0.55), 10)
    assert (0.5 - low, high - 0.5) == pytest.approx((0.1 * (1 + 10 / 9) ** 0.5, 0.05 * (1 + 10 / 9) ** 0.5))
    assert widened(0.5, (0.5, 0.5), 2) == (0.5, 0.5)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    """95 of 100 samples of 100 numbers; 300 samples, so a standard error of 1.3 points."""
    rng, covered = np.random.default_rng(0), 0
    weights = all_weights(np.arange(100), 400)
    for _ in range(300):
        values = rng.normal(size=100)
        low, high = interval(weights @ values / 100)
        covered += low <= 0 <= high
    assert 0.90 < covered / 300 < 0.98
