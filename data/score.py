"""Score predictions of the sample's test images against the labels that its script drew.

    python data/score.py predictions.csv data/test_labels.csv

The sample is synthetic and has 24 test images: one image more or less is 0.04 of accuracy.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from sklearn.metrics import classification_report


def read_labels(path: Path) -> dict[str, str]:
    """Read ``sample_index`` and ``label`` of a CSV."""
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["sample_index"]: row["label"] for row in csv.DictReader(stream)}


def main(predictions: str, labels: str) -> None:
    """Print precision, recall and F1 of each class, accuracy and macro-F1."""
    truth, predicted = read_labels(Path(labels)), read_labels(Path(predictions))
    names = sorted(truth)
    print(f"{len(names)} synthetic test images")
    print(
        classification_report(
            [truth[name] for name in names], [predicted[name] for name in names], digits=2, zero_division=0
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
