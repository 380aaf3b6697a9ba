"""Fusion weights chosen on few images, against equal weights: on new images, over many resamples.

Two or three calibrated heads of known quality are simulated. Weights are chosen on a small validation part as
`LogitFusion` does it, in the middle of the points with the best macro-F1, and at the first of these, as is often done;
all are scored on thousands of new images.
"""

from __future__ import annotations

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


def main() -> None:
    """Print the table."""
    print(
        f"Macro-F1 on {NEW} new images less that of equal weights, in points: mean of {RESAMPLES} (standard error).\n"
    )
    print(f"| heads | images that chose | {' | '.join(CHOICES)} | equal weights' macro-F1 |")
    print(f"| --- | {' | '.join(['---:'] * (2 + len(CHOICES)))} |")
    for name, quality in HEADS.items():
        for size in SIZES:
            *found, equal = _resampled(quality, size)
            told = [f"{100 * each.mean():+.2f} ({100 * each.std(ddof=1) / len(each) ** 0.5:.2f})" for each in found]
            print(f"| {name} | {size} | {' | '.join(told)} | {equal.mean():.3f} |", flush=True)


def _resampled(quality: tuple[float, ...], size: int) -> list[np.ndarray]:
    """Return for each resample what each choice gains on equal weights, and these weights' macro-F1."""
    rng, rows = np.random.default_rng([len(quality), size, int(10 * sum(quality))]), []
    for _ in range(RESAMPLES):
        logits, codes = _heads(rng, quality, size)
        new, truth = _heads(rng, quality, NEW)
        temperatures = np.array([fit_temperature(each, codes, (0.1, 10.0)) for each in logits])[:, None, None]
        equal = _scores(np.full((1, len(quality)), 1 / len(quality)), new / temperatures, truth)[0]
        chosen = np.stack([choose(logits / temperatures, codes) for choose in CHOICES.values()])
        rows.append([*(_scores(chosen, new / temperatures, truth) - equal), equal])
    return [np.array(column) for column in zip(*rows, strict=True)]


def _heads(rng: np.random.Generator, quality: tuple[float, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    codes = rng.integers(0, CLASSES, count)
    shared, own = rng.normal(size=(count, CLASSES)), rng.normal(size=(len(quality), count, CLASSES))
    truth = np.eye(CLASSES)[codes]
    noise = (shared + own) / 2**0.5
    return np.stack([each * truth + noise[place] for place, each in enumerate(quality)]), codes


def _best_points(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    points = grid(len(logits))
    weights = points / points[0].sum()
    scores = _scores(weights, logits, codes)
    return weights[scores >= scores.max() - 1e-9]


def _first_best(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return _best_points(logits, codes)[0]


def _middle(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    best = _best_points(logits, codes)
    return best[((best - best.mean(axis=0)) ** 2).sum(axis=1).argmin()]


def _scores(weights: np.ndarray, logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return macro_f1(np.tensordot(weights, logits, axes=1).argmax(axis=-1), codes, CLASSES)


CHOICES = {"`LogitFusion`": best_weights, "middle of the best": _middle, "first best": _first_best}


if __name__ == "__main__":
    main()
