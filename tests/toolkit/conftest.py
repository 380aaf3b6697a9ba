"""Simulated bags: classes a little apart, blobs of an image alike, repeats of a blob more so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from featstore.store.bags import Bags

NAMES = ("HER2(+)", "Luminal A", "Luminal B", "Triple negative")


@pytest.fixture(scope="session")
def make_bags() -> Callable[..., Bags]:
    def make(
        n_images: int = 60,
        *,
        dim: int = 12,
        repeats: int = 2,
        n_classes: int = 4,
        apart: float = 2.0,
        seed: int = 0,
        twins: int = 0,
        fingerprint: str = "",
    ) -> Bags:
        rng = np.random.default_rng(seed)
        centres = np.random.default_rng(99).standard_normal((n_classes, dim)) * apart
        classes = np.arange(n_images) % n_classes
        rows, keys = [], []
        for image, label in enumerate(classes):
            middle = centres[label] + rng.standard_normal(dim)
            for blob in range(rng.integers(1, 4)):
                at = middle + rng.standard_normal(dim)
                for repeat in range(repeats + 1):
                    rows.append(at + (0.3 * rng.standard_normal(dim) if repeat else 0))
                    keys.append((f"img_{image:04d}.png", blob, repeat))
        images, blobs, counts = zip(*keys, strict=True)
        names = [f"img_{image:04d}.png" for image in range(n_images)]
        groups = {name: f"twin {i // 2}" for i, name in enumerate(names[: 2 * twins])}
        return Bags.from_rows(
            np.array(rows, dtype=np.float32),
            images,
            blobs,
            counts,
            labels=dict(zip(names, np.array(NAMES)[classes], strict=True)),
            groups=groups,
            provenance={"fingerprint": fingerprint, "version": 1} if fingerprint else None,
        )

    return make


@pytest.fixture(scope="session")
def bags(make_bags: Callable[..., Bags]) -> Bags:
    return make_bags(60)
