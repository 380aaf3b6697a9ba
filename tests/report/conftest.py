"""Stores of made-up embeddings, models on them, and the page read back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from featstore.report import Page, Subject, make_page
from featstore.report.thumbnails import Originals
from featstore.store import Store, create_store, open_store
from featstore.toolkit import m4

DIM = 12

FIGURE = {"mean": 0.4321, "std": None, "ci_low": 0.35, "ci_high": 0.51}
ESTIMATE = dict.fromkeys(("macro_f1", "accuracy", "ece", "brier", "log_loss"), FIGURE) | {
    "per_class": {
        "ants": {"images": 15, "f1": 0.5, "precision": None, "recall": 0.25, "f1_ci_low": 0.1, "f1_ci_high": 1}
    },
    "images": 45,
    "groups": 23,
    "folds": 5,
    "seeds": 1,
}
SWEPT = {
    "store": "a.store",
    "preset": "m5",
    "max_blobs": None,
    "images": 9,
    "macro_f1_ci_low": 0.3,
    "macro_f1_ci_high": 0.5,
}


class Read(HTMLParser):
    """The tables, texts and tags of a page, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._raw = self._cell = False
        self.feed(html)
        self.tables = [[[cell.strip() for cell in row] for row in rows] for rows in self.tables]

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append((tag, dict(attributes)))
        self._raw = tag in ("script", "style")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._raw = False
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._raw:
            return
        self.text += data
        if self._cell:
            self.tables[-1][-1][-1] += data

    def table(self, *columns: str) -> dict[str, list[str]]:
        """Return the rows of the first table that has these columns, by their first cell."""
        for rows in self.tables:
            if rows and all(column in rows[0] for column in columns):
                return {row[0]: row[1:] for row in rows[1:]}
        raise AssertionError(f"no table with {columns}")


def map_data(page: Page) -> dict[str, Any]:
    """Return what the map's script is given."""
    found = re.search(rb'<script type="application/json" id="map-data">(.*?)</script>', page.html, re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found.group(1))
    return content


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Store]:
    """Make a store of images given as name -> (label, split), classes a little apart."""

    def make(images: Mapping[str, tuple[str, str]], groups: Mapping[str, str] | None = None, **named: Any) -> Store:
        path = tmp_path_factory.mktemp("made") / named.get("name", "made.store")
        rng = np.random.default_rng(0)
        labels = sorted({label for label, _ in images.values()})
        centres = np.random.default_rng(7).standard_normal((len(labels), DIM)) * named.get("apart", 1.0)
        with create_store(path, recipe={"encoder": "made-up"}, dim=DIM) as writer:
            for image, (label, split) in images.items():
                count = int(rng.integers(1, 4))
                rows = centres[labels.index(label)] + rng.standard_normal((count, DIM))
                about = {"label": label, "split": split, "group": (groups or {}).get(image, "")}
                writer.add(image, range(count), [0] * count, rows.astype(np.float32), **about)
        return open_store(path)

    return make


def numbered(classes: Iterable[str], train: int = 40, test: int = 6) -> dict[str, tuple[str, str]]:
    """Name images whose classes take turns; test images have no label."""
    names = list(classes)
    images = {f"img_{n:03d}.png": (names[n % len(names)], "train") for n in range(train)}
    return images | {f"test_{n:03d}.png": ("", "test") for n in range(test)}


@pytest.fixture(scope="session")
def fitted(make_store: Callable[..., Store]) -> tuple[Store, Any]:
    """A store of three classes, pairs of images in groups, and a model on it."""
    images = numbered(("ants", "bees", "cows"), 45)
    groups = {f"img_{n:03d}.png": f"patient {n // 2}" for n in range(0, 45)}
    store = make_store(images, groups)
    X = store.bags()
    return store, m4(0, 3).fit(X, X.labels)


@pytest.fixture(scope="session")
def page_of() -> Callable[..., Page]:
    """Make the page of a store, without pictures unless a folder is named."""

    def make(store: Store, model: Any = None, data: Path | None = None, **more: Any) -> Page:
        return make_page(Subject(store, Originals(data, store.images), model, "m.model", **more))

    return make


@pytest.fixture(scope="session")
def page(fitted: tuple[Store, Any], page_of: Callable[..., Page]) -> Page:
    return page_of(*fitted)


@pytest.fixture(scope="session")
def read(page: Page) -> Read:
    return Read(page.html.decode())


def write_pictures(folder: Path, names: Iterable[str], seed: int = 0) -> None:
    """Write a small noisy picture of each name."""
    rng = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soft = cv2.GaussianBlur(rng.uniform(0, 255, (60, 90, 3)).astype(np.float32), (0, 0), 2)
        path.write_bytes(cv2.imencode(".png", soft.astype(np.uint8))[1].tobytes())
