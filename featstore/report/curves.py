"""The curve of a sweep."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featstore.errors import DataError
from featstore.extras import require_extra
from featstore.report.words import shortened
from featstore.store.disk.files import write_atomically

__all__ = ["draw_rows", "draw_sweep", "quiet", "require_matplotlib"]

_AXES = {
    "repeats": "augmented repeats of a training crop",
    "max_blobs": "blobs of an image, the largest ones",
    "scales": "scales of crops: + pooled, : side by side",
}
_LINES = ("store", "preset", "repeats", "max_blobs", "scales")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, told apart by people who see colours differently."""


def require_matplotlib() -> Any:
    """Return ``matplotlib``.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    return require_extra("matplotlib", "report", "pictures need")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what matplotlib warns of while it draws: a letter that no font has, a layout that is too tight."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def draw_sweep(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw macro-F1 over what was varied, as PNG: the mean over seeds, a dot a seed, a standard deviation as a band.

    Repeats are the axis, or else blobs, or scales, where these were varied; all else makes lines of its own.

    Parameters
    ----------
    rows : sequence of dict
        As `featstore.evaluate.sweep` returns them.
    path : Path

    Raises
    ------
    DataError
        If there are no rows.
    MissingExtraError
        If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picture = io.BytesIO()
    with quiet(), rc_context({"text.parse_math": False}):  # a store's name with $ is no formula
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        draw_rows(figure.add_subplot(), rows)
        FigureCanvasAgg(figure).print_figure(picture, format="png", dpi=150, metadata={"Software": None})
    write_atomically(path, picture.getvalue())


def draw_rows(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the rows of a sweep into axes of matplotlib; those read from a CSV have no figures of single seeds.

    Raises
    ------
    DataError
        If there are no rows.
    """
    if not rows:
        raise DataError("a sweep without rows", expected="one or more")
    axis = next((name for name in _AXES if _varied(rows, name)), "repeats")
    names = [name for name in _LINES if name != axis and _varied(rows, name)]
    lines: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault(tuple(row.get(name) for name in names), []).append(row)
    places = list(dict.fromkeys(row.get(axis) for row in rows))
    if axis != "scales":
        places.sort(key=_first_numbers)
    for number, (values, of_line) in enumerate(lines.items()):
        label = ", ".join(map(_told, names, values))
        _draw_line(
            axes, of_line, [places.index(row.get(axis)) for row in of_line], label, _COLOURS[number % len(_COLOURS)]
        )
    seeds = len(rows[0].get("macro_f1_by_seed", ()))
    several = rows[0]["macro_f1_std"] is not None
    counted = f"{seeds} seeds" if seeds else "all seeds"
    band = f"line: mean of {counted}, band: their standard deviation" if several else "one seed"
    level = "macro-F1 of single heads, nested cross-validation"
    axes.set(xlabel=_AXES[axis], ylabel=level, title=f"{rows[0]['images']} images; {band}")
    axes.set_xticks(range(len(places)), [_shown(place) for place in places])
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if names:
        axes.legend(frameon=False)


def _draw_line(axes: Any, rows: Sequence[Mapping[str, Any]], places: Sequence[int], label: str, colour: str) -> None:
    order = sorted(range(len(rows)), key=places.__getitem__)
    x, rows = [places[index] for index in order], [rows[index] for index in order]
    mean, std = ([row[f"macro_f1_{part}"] or 0.0 for row in rows] for part in ("mean", "std"))
    low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, mean, color=colour, marker="o", label=label)
    for place, row in zip(x, rows, strict=True):
        values = row.get("macro_f1_by_seed", ())
        axes.plot([place] * len(values), values, ".", color=colour, alpha=0.5, markersize=4)


def _varied(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return len({row.get(name) for row in rows}) > 1


def _first_numbers(place: int | None) -> float:
    return float("inf") if place is None else place


def _told(name: str, value: Any) -> str:
    if name in ("store", "preset"):
        return shortened(value, end=True)
    if name == "scales":
        return f"scales {_shown(value)}"
    return f"{_shown(value)} {'blobs' if name == 'max_blobs' else 'repeats'}"


def _shown(value: Any) -> str:
    return "all" if value is None else shortened(value)
