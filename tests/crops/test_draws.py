from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields, replace
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featstore.crops import Draws, draw
from featstore.crops.draws import SCALARS
from featstore.errors import SettingError
from featstore.recipe import AugmentationSettings

USUAL = AugmentationSettings()
keys = st.tuples(st.integers(-(2**70), 2**70), st.text(max_size=70), st.integers(0, 2000), st.integers(1, 5000))


def at(key: tuple[int, str, int, int], settings: AugmentationSettings = USUAL) -> Draws:
    seed, image_digest, blob, repeat = key
    return draw(settings, seed=seed, image_digest=image_digest, blob=blob, repeat=repeat)


@pytest.fixture(scope="module")
def many() -> list[Draws]:
    return [at((0, "many", blob, repeat)) for blob in range(20) for repeat in range(1, 101)]


@given(keys)
@settings(max_examples=50, deadline=None)
def test_pure(key: tuple[int, str, int, int]) -> None:
    np.random.default_rng().random(3)
    assert at(key) == at(key)


def test_a_worker_draws_the_same() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = pool.submit(draw, USUAL, seed=7, image_digest="f" * 64, blob=2, repeat=3).result()
    assert there == at((7, "f" * 64, 2, 3))


@given(keys, keys)
@settings(max_examples=100, deadline=None)
def test_distinct_for_distinct_keys(one: tuple[int, str, int, int], other: tuple[int, str, int, int]) -> None:
    assert (at(one) == at(other)) == (one == other)


def test_one_part_of_the_key_changes_every_stream() -> None:
    key = (1, "ab", 2, 3)
    others = [(2, "ab", 2, 3), (1, "abc", 2, 3), (1, "ab", 3, 3), (1, "ab", 2, 4), (1, "ab", 3, 2)]
    for stream in ("rotation_deg", "elastic_key", "noise_key"):
        values = {getattr(at(each), stream) for each in [key, *others]}
        assert len(values) == 6


def test_numpy_integers_are_the_same_key() -> None:
    assert at((np.int64(3), "x", np.int32(1), np.uint8(2))) == at((3, "x", 1, 2))


@pytest.mark.parametrize("repeat", [0, -1])
def test_the_clean_crop_has_no_draws(repeat: int) -> None:
    with pytest.raises(SettingError, match="repeat 0 is the clean crop"):
        at((0, "x", 0, repeat))


def test_ranges_are_kept_and_filled(many: list[Draws]) -> None:
    limits = {
        "rotation_deg": (-15, 15),
        "brightness": (0.95, 1.05),
        "contrast": (0.95, 1.05),
        "saturation": (0.95, 1.05),
        "hue": (-0.04, 0.04),
        "blur_sigma_px": USUAL.blur_sigma_px,
        "noise_sigma": (0.01, 0.03),
        "erase_area": (0.02, 0.12),
        "erase_aspect": (0.3, 3.3),
        "erase_x": (0, 1),
        "erase_y": (0, 1),
    }
    columns = {name: np.array([getattr(draws, name) for draws in many]) for name in limits}
    for channel in range(3):
        for name, extent in (("stain_alpha", (0.8, 1.2)), ("stain_beta", (-0.1, 0.1))):
            limits[f"{name} {channel}"] = extent
            columns[f"{name} {channel}"] = np.array([getattr(draws, name)[channel] for draws in many])
    columns["erase_aspect"], limits["erase_aspect"] = np.log(columns["erase_aspect"]), tuple(np.log((0.3, 3.3)))
    for name, (low, high) in limits.items():
        place = (columns[name] - low) / (high - low)
        assert -1e-9 <= place.min() < 0.01, name
        assert 0.99 < place.max() <= 1 + 1e-9, name
        # The mean and the spread of 2,000 uniform numbers, within five standard errors.
        assert place.mean() == pytest.approx(0.5, abs=5 * 0.2887 / 2000**0.5), name
        assert place.std() == pytest.approx(0.2887, abs=0.015), name


def test_scalars_are_independent(many: list[Draws]) -> None:
    table = np.array([[*d.stain_alpha, *d.stain_beta, d.rotation_deg, d.hue, d.noise_sigma, d.erase_x] for d in many])
    correlation = np.corrcoef(table, rowvar=False) - np.eye(table.shape[1])
    assert np.abs(correlation).max() < 0.12


@pytest.mark.parametrize(
    ("name", "share"), [("flip_horizontal", 0.5), ("flip_vertical", 0.5), ("blur", 0.15), ("erase", 0.25)]
)
def test_shares(many: list[Draws], name: str, share: float) -> None:
    assert np.mean([getattr(draws, name) for draws in many]) == pytest.approx(share, abs=0.05)


@given(keys, st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=30, deadline=None)
def test_a_setting_shifts_no_other_draw(key: tuple[int, str, int, int], p: float) -> None:
    other = replace(USUAL, flip_probability=p, blur_probability=p, erase_probability=p, rotation_deg=90 * p)
    mine = {"flip_horizontal", "flip_vertical", "blur", "erase", "rotation_deg"}
    left, right = asdict(at(key)), asdict(at(key, other))
    assert {name for name in left if left[name] != right[name]} <= mine


@given(st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_grids_have_the_size_asked_for_and_begin_alike(side: int) -> None:
    draws = at((0, "grid", 0, 1))
    elastic, noise = draws.elastic_grid(side), draws.noise_grid(side)
    assert (elastic.shape, elastic.dtype) == ((side, side, 2), np.uint8)
    assert (noise.shape, noise.dtype) == ((side, side, 3), np.uint8)
    np.testing.assert_array_equal(elastic.ravel(), draws.elastic_grid(50).ravel()[: elastic.size])
    np.testing.assert_array_equal(noise.ravel(), draws.noise_grid(50).ravel()[: noise.size])


def test_grids_are_uniform() -> None:
    draws = at((0, "grid", 0, 1))
    for grid in (draws.elastic_grid(400), draws.noise_grid(400)):
        counts = np.bincount(grid.ravel(), minlength=256)
        expected = grid.size / 256
        # Chi-squared with 255 degrees of freedom: mean 255, standard deviation 22.6.
        assert ((counts - expected) ** 2 / expected).sum() == pytest.approx(255, abs=5 * 22.6)


def test_one_number_a_name() -> None:
    assert len(set(SCALARS)) == len(SCALARS) == 21


def test_golden() -> None:
    """The draws of stores that exist: if this fails, `AugmentationSettings.version` must rise, or better, undo it."""
    digest = hashlib.sha256()
    for key in [(0, "", 0, 1), (0, "0" * 64, 0, 1), (7, "f" * 64, 9, 64), (-1, "é", 3, 2)]:
        draws = at(key)
        for field in fields(draws):
            value = getattr(draws, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            # Twelve decimals: a power function may differ in the last bit between mathematics libraries.
            digest.update(f"{field.name}={[round(number, 12) for number in numbers]};".encode())
        digest.update(draws.elastic_grid(5).tobytes() + draws.noise_grid(5).tobytes())
    assert digest.hexdigest() == "36e7cb48f70480658356639526af09545afcdec334070a5bcb36c4cc31daacb7"
