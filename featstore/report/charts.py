"""The charts of a page, each an ``<svg>``; numbers stand in tables beside them as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featstore.report.curves import draw_rows
from featstore.report.palette import BLUE, GREY, INK, ORANGE, SHAPES, VERMILION, Mark
from featstore.report.svg import chart, inline_svg
from featstore.report.words import UNLABELLED, shortened, shown

__all__ = ["class_bars", "confusion", "reliability", "scatter", "swept"]

MOST_BARS, MOST_CELLS = 30, 20


def class_bars(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Draw how many images of each class each split has, the largest class on top.

    Parameters
    ----------
    counts : mapping of class to mapping of split to int
        That of images without a label is empty.
    """
    names = list(counts)[:MOST_BARS]
    with chart(5.2, 0.9 + 0.28 * len(names)) as figure:
        axes = figure.add_subplot()
        left = np.zeros(len(names))
        places = np.arange(len(names))[::-1]
        for split, colour in (("train", BLUE), ("test", ORANGE)):
            values = np.array([counts[name].get(split, 0) for name in names])
            if values.any():
                axes.barh(places, values, left=left, color=colour, label=split, height=0.7)
                left += values
        for place, value in zip(places, left, strict=True):
            axes.text(value, place, f" {value:.0f}", va="center", fontsize=9)
        axes.set_yticks(places, [shortened(name or UNLABELLED) for name in names])
        axes.set(xlabel="images with embeddings", xmargin=0.1)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
        told = ", ".join(f"{shown(name or UNLABELLED)}: {sum(counts[name].values())}" for name in names)
        return inline_svg(figure, f"Bars: images of each class. {told}.", "classes")


def confusion(matrix: NDArray[np.intp], classes: Sequence[str]) -> str:
    """Draw a confusion matrix: counts, shaded by their share of the true class; the smallest of many classes as one.

    Parameters
    ----------
    matrix : ndarray of shape (n_classes, n_classes), int
        Rows are true classes.
    classes : sequence of str
    """
    right, whole = int(np.trace(matrix)), len(classes)
    matrix, classes = _largest(matrix, classes)
    count = len(classes)
    others = whole - count + 1 if count < whole else 0
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = max(3.2, 1.6 + 0.5 * count)
    with chart(side + 1.2, side) as figure:
        axes = figure.add_subplot()
        for row, column in np.ndindex(count, count):
            if not matrix[row, column]:
                continue
            share, colour = shares[row, column], BLUE if row == column else VERMILION
            if others and row == column == count - 1:  # one of them may well be taken for another
                colour = GREY
            axes.add_patch(_cell(column, row, colour, 0.15 + 0.65 * share))
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=INK)
        names = [shortened(name) for name in classes]
        axes.set_xticks(range(count), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), names)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), xlabel="predicted", ylabel="label", aspect="equal")
        axes.tick_params(length=0)
        told = (
            f"Confusion matrix: {right} of {int(matrix.sum())} images are predicted rightly; the table has all counts."
        )
        grey = f" The grey cell has images of the {others} others that are predicted as one of these, rightly or not."
        return inline_svg(figure, told + grey * bool(others), "confusion")


def reliability(curves: Mapping[str, Sequence[tuple[float, float, int]]]) -> str:
    """Draw how often predictions of some confidence are right, a line a curve.

    Parameters
    ----------
    curves : mapping from name to list of (confidence, share right, images)
        A point for each bin that has images.
    """
    looks = ((ORANGE, "s", "--"), (BLUE, "o", "-"))[-len(curves) :]
    with chart(5, 4.6) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, alpha=0.6, label="as sure as right")
        for (name, points), (colour, shape, line) in zip(curves.items(), looks, strict=True):
            sure, right, images = (np.array(column, dtype=float) for column in zip(*points, strict=True))
            axes.plot(sure, right, line, color=colour, linewidth=1.4, label=name)
            sizes = 14 + 160 * images / images.sum()
            axes.scatter(sure, right, s=sizes, color=colour, marker=shape, edgecolor=INK, linewidth=0.5, zorder=3)
        axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="share that is right", aspect="equal")
        axes.grid(alpha=0.25)
        axes.legend(loc="lower right", fontsize=9)
        told = "Reliability diagram: share of right predictions over confidence; the table has it."
        return inline_svg(figure, told, "reliability")


def scatter(places: NDArray[np.float64], marked: Sequence[Mark], told: str, labels: tuple[str, str]) -> str:
    """Draw the map of embeddings as it stands without JavaScript and in print.

    Parameters
    ----------
    places : ndarray of shape (n, 2)
    marked : sequence of Mark
        How each image looks.
    told : str
    labels : tuple of 2 str
        Of the axes.
    """
    with chart(7.5, 5.2) as figure:
        axes = figure.add_subplot()
        for mark in dict.fromkeys(marked):
            of_mark = places[[each == mark for each in marked]]
            style: dict[str, Any] = {"s": 3.2 * mark.size, "color": mark.colour, "marker": SHAPES[mark.shape][0]}
            axes.scatter(*of_mark.T, **style, edgecolor=INK, linewidth=0.3)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        return inline_svg(figure, told, "map")


def swept(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw the curve of a sweep."""
    with chart(7, 4.2) as figure:
        axes = figure.add_subplot()
        draw_rows(axes, rows)
        return inline_svg(figure, "Curve: macro-F1 over what was varied; the table has the numbers.", "sweep")


def _largest(matrix: NDArray[np.intp], names: Sequence[str]) -> tuple[NDArray[np.intp], list[str]]:
    """Put the smallest of many classes together, so that the matrix can be drawn."""
    if len(names) <= MOST_CELLS:
        return matrix, list(names)
    order = np.argsort(-matrix.sum(axis=1), kind="stable")
    kept, rest = np.sort(order[: MOST_CELLS - 1]), order[MOST_CELLS - 1 :]
    place = np.full(len(names), len(kept))
    place[kept] = np.arange(len(kept))
    folded = np.zeros((MOST_CELLS, MOST_CELLS), dtype=np.intp)
    np.add.at(folded, (place[:, None], place[None]), matrix)
    return folded, [*(names[each] for each in kept), f"{len(rest)} others"]


def _cell(column: int, row: int, colour: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=colour, alpha=alpha, linewidth=0)
