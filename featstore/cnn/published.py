"""The published comparison: its systems, its figures, and tables that show both beside what was worked out here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featstore.store.disk.files import write_atomically

__all__ = ["SYSTEMS", "TABLES", "Row", "beside_published", "write_tables"]

Row = dict[str, Any]

SYSTEMS = {
    "m1": "InceptionV3, mask as 4th channel, one hold-out",
    "m2": "EfficientNet-B0, stronger augmentation, folds",
    "m3": "EfficientNet-B1, schedule, balanced, calibrated",
    "m4": "frozen encoder, MLP on image embeddings",
    "m5": "frozen encoder, MLP on blobs and XGBoost, fused",
}

PUBLISHED = {
    "m1": (0.3504, 0.3273, 0.3188),
    "m2": (0.4138, 0.3549, 0.3358),
    "m3": (0.4483, 0.4348, 0.3529),
    "m4": (None, 0.4235, 0.3725),
    "m5": (None, 0.4975, 0.4221),
}
"""The authors' validation accuracy, validation macro-F1 (both of the best fold) and test macro-F1, on the challenge."""

PUBLISHED_REPEATS = {1: 0.3725, 3: 0.4048, 4: 0.4221}
"""The authors' test macro-F1 of M5 by repeats."""

TABLES = ("comparison.csv", "repeats.csv", "reproduction.json")


def beside_published(systems: Sequence[Row], repeats: Sequence[Row]) -> dict[str, list[Row]]:
    """Put the published figures beside the rows of `Reproduction.rows`: ``systems`` and ``repeats``."""
    names = ("val_accuracy", "val_macro_f1", "test_macro_f1")
    known = {system: dict(zip(names, figures, strict=True)) for system, figures in PUBLISHED.items()}
    by_repeats = [{"test_macro_f1": PUBLISHED_REPEATS.get(row["repeats"])} for row in repeats]
    return {
        "systems": [{**r, "what": SYSTEMS[r["system"]], "published": known[r["system"]]} for r in systems],
        "repeats": [{**row, "published": published} for row, published in zip(repeats, by_repeats, strict=True)],
    }


def write_tables(folder: Path, content: Row) -> None:
    """Write all there is to know as JSON, and ``systems`` and ``repeats`` also as CSV.

    Raises
    ------
    StoreWriteError
        If a file can't be written.
    """
    write_atomically(folder / "reproduction.json", json.dumps(content, indent=2).encode())
    for name, rows in (("comparison.csv", content["systems"]), ("repeats.csv", content["repeats"])):
        flat = [_flat(row) for row in rows]
        text = io.StringIO(newline="")
        lines = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
        lines.writeheader()
        lines.writerows(flat)
        write_atomically(folder / name, text.getvalue().encode())


def _flat(row: Row) -> Row:
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name}_{inner}": each for inner, each in value.items()}
        else:
            flat[name] = value
    return flat
