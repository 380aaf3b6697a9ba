"""Pictures of a page: of the files that were extracted, and no more of them than a page can bear."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from featstore.explain import Picture
from featstore.report import Subject, make_page
from featstore.report.sections import errors
from featstore.report.thumbnails import Originals, encode_webp, encode_within
from featstore.toolkit import m4

from .conftest import numbered, write_pictures


def test_pictures_of_other_files_are_left_out(make_store, page_of, tmp_path) -> None:
    images = numbered(("a", "b"), 6, 2)
    store = make_store(images)
    write_pictures(tmp_path, [name for name in images if name != "img_000.png"])
    (tmp_path / "img_001.png").write_bytes(b"no image")
    page = page_of(store, None, tmp_path)
    assert page.thumbnails == 6
    assert any("2 images without a picture" in note for note in page.notes)


def test_a_page_of_the_challenge_stays_under_15_mb(make_store, monkeypatch) -> None:
    """With forty errors, and pictures that hardly compress; all of them are there."""
    images = numbered(("a", "b", "c", "d"), 691, 477)
    store = make_store(images, apart=0.0)
    X = store.bags()
    model = m4(0, 2).fit(X, X.labels)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (640, 860, 3), dtype=np.uint8) for _ in range(8)]
    originals = Originals(None, store.images)
    monkeypatch.setattr(originals, "read", lambda name: noise[hash(name) % 8][:160, :160])
    monkeypatch.setattr(errors, "_open", lambda originals, name: (Picture(Path(name), noise[hash(name) % 8]), ""))
    monkeypatch.setattr(errors, "_explain", lambda *_: SimpleNamespace(notes=()))
    monkeypatch.setattr(errors, "_drawn", lambda pixels, said: pixels)
    page = make_page(Subject(store, originals, model, n_errors=40))
    assert page.thumbnails == 1168
    assert page.html.count(b'<img src="data:image/webp') == 40
    assert 5e6 < len(page.html) < 15e6


def test_pictures_are_as_good_as_fits_and_no_better_than_asked() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 500, 3), dtype=np.uint8)
    whole = encode_within({"a": noise}, 10**9, 74)
    assert whole == {"a": encode_webp(noise, 74)}
    for budget in (100_000, 20_000, 4_000):
        few = encode_within({"a": noise, "b": noise}, budget, 74)
        assert budget / 3 < sum(map(len, few.values())) <= budget
        assert few["a"] == few["b"]
    assert encode_within({}, 10) == {}
