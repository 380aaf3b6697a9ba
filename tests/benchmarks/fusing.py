"""Fusion weights chosen on few images, against equal weights: on new images, over many resamples.

Two or three calibrated heads of known quality are simulated. The weight is chosen on a small validation part as
`LogitFusion` does it (the middle of the largest plateau of macro-F1), and as is often done (the first best point of the
same grid), and both are scored on thousands of new images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from featstore.toolkit.simplex import best_weights, grid, macro_f1
from featstore.toolkit.temperature import fit_temperature

CLASSES, NEW, RESAMPLES = 4, 4000, 400
SIZES = (20, 40, 58, 120)
HEADS = {
    "two alike": (1.2, 1.2),
    "a good and a fair one": (1.6, 0.8),
    "a good and a useless one": (1.6, 0.0),
    "two alike and a useless one": (1.2, 1.2, 0.0),
}
"""How far the true class's logit stands out, in standard deviations of the noise; half of that is shared by heads."""

Weights = Callable[[np.ndarray, np.ndarray], np.ndarray]


def main() -> None:
    """Print the table."""
    print(
        f"Macro-F1 on {NEW} new images less that of equal weights, in points: mean of {RESAMPLES} (standard error).\n"
    )
    print("| heads | images that chose | middle of the plateau | first best point | equal weights' macro-F1 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, quality in HEADS.items():
        for size in SIZES:
            found = _resampled(quality, size)
            told = [f"{100 * each.mean():+.2f} ({100 * each.std(ddof=1) / len(each) ** 0.5:.2f})" for each in found[:2]]
            print(f"| {name} | {size} | {told[0]} | {told[1]} | {found[2].mean():.3f} |")


def _resampled(quality: tuple[float, ...], size: int) -> list[np.ndarray]:
    rng, rows = np.random.default_rng([len(quality), size, int(10 * sum(quality))]), []
    for _ in range(RESAMPLES):
        logits, codes = _heads(rng, quality, size)
        new, truth = _heads(rng, quality, NEW)
        temperatures = np.array([fit_temperature(each, codes, (0.1, 10.0)) for each in logits])[:, None, None]
        calibrated = logits / temperatures
        equal = np.full(len(quality), 1 / len(quality))
        choices = (best_weights(calibrated, codes), _first_best(calibrated, codes), equal)
        scores = [_score(weights, new / temperatures, truth) for weights in choices]
        rows.append((scores[0] - scores[2], scores[1] - scores[2], scores[2]))
    return [np.array(column) for column in zip(*rows, strict=True)]


def _heads(rng: np.random.Generator, quality: tuple[float, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    codes = rng.integers(0, CLASSES, count)
    shared, own = rng.normal(size=(count, CLASSES)), rng.normal(size=(len(quality), count, CLASSES))
    truth = np.eye(CLASSES)[codes]
    noise = (shared + own) / 2**0.5
    return np.stack([each * truth + noise[place] for place, each in enumerate(quality)]), codes


def _first_best(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    points = grid(len(logits))
    weights = points / points[0].sum()
    return weights[np.argmax([_score(each, logits, codes) for each in weights])]


def _score(weights: np.ndarray, logits: np.ndarray, codes: np.ndarray) -> float:
    predicted = np.tensordot(weights, logits, axes=1).argmax(axis=1)[None]
    return float(macro_f1(predicted, codes, CLASSES)[0])


if __name__ == "__main__":
    main()
