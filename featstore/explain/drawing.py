"""Pictures of explanations: one panel for each, side by side."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featstore.drawn import SOFTWARE
from featstore.errors import DataError
from featstore.explain.explanation import BlobShare, Explanation
from featstore.extras import require_extra
from featstore.store.disk.files import write_atomically

__all__ = ["draw_explanations", "explanations_png"]

_FOR, _AGAINST, _MIDDLE = "#0072b2", "#d55e00", "#f7f7f7"
"""Blue and vermilion of Okabe and Ito, told apart by people who see colours differently."""

_LONGEST_PX = 1200
"""Larger images are shrunk before they are drawn."""

_PANEL_IN, _HEAT, _OPAQUE, _NOTE_CHARS = 7.0, "viridis", 0.65, 88


def draw_explanations(
    pixels: NDArray[np.uint8], explanations: Sequence[Explanation], path: Path, title: str = ""
) -> None:
    """Draw an image as PNG, a panel for each explanation, into a file.

    Parameters
    ----------
    pixels, explanations, title
        As `explanations_png` takes them.
    path : Path

    Raises
    ------
    DataError, MissingExtraError
        As `explanations_png` does.
    """
    write_atomically(path, explanations_png(pixels, explanations, title))


def explanations_png(pixels: NDArray[np.uint8], explanations: Sequence[Explanation], title: str = "") -> bytes:
    """Draw an image as PNG, a panel for each explanation.

    A panel names the system, the class and its probability. It shows the heatmap as far as there is one, each blob's
    outline and contribution, blue for the class and orange against it, and a colour bar. The same explanations make the
    same bytes.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8, RGB
    explanations : sequence of Explanation
        Heatmaps and blobs in pixels of this image.
    title : str
        Over all panels.

    Raises
    ------
    DataError
        If there is no explanation, or a heatmap is of another size than the image.
    MissingExtraError
        If matplotlib is not installed.
    """
    _check(pixels, explanations)
    require_extra("matplotlib", "explain", "pictures need")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(explanations), 2)
    rows = math.ceil(len(explanations) / columns)
    height, width = pixels.shape[:2]
    lines = max(len(_wrapped(each)) for each in explanations)
    tall = min(max(0.86 * _PANEL_IN * height / width, 2.5), 1.6 * _PANEL_IN) + 0.6 + 0.13 * lines
    figure = Figure(figsize=(_PANEL_IN * columns, tall * rows + 0.3), layout="constrained")
    if title:
        figure.suptitle(_plain(title), fontsize=11)
    scale = min(1.0, _LONGEST_PX / max(height, width))
    for number, explanation in enumerate(explanations):
        _draw_panel(figure.add_subplot(rows, columns, number + 1), pixels, explanation, scale)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(
        picture, format="png", dpi=110, bbox_inches="tight", pad_inches=0.15, metadata={"Software": SOFTWARE}
    )
    return picture.getvalue()


def _check(pixels: NDArray[np.uint8], explanations: Sequence[Explanation]) -> None:
    if not explanations:
        raise DataError("a picture without an explanation", expected="one or more")
    for each in explanations:
        if each.heatmap is not None and each.heatmap.shape != pixels.shape[:2]:
            raise DataError(
                f"a heatmap of shape {each.heatmap.shape} from {each.system}",
                expected=f"{pixels.shape[:2]}, the image's",
            )


def _draw_panel(axes: Any, pixels: NDArray[np.uint8], explanation: Explanation, scale: float) -> None:
    height, width = pixels.shape[:2]
    extent = (0, width, height, 0)
    axes.imshow(_smaller(pixels, scale), extent=extent, interpolation="bilinear")
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    how = f" ({explanation.method})" if explanation.method else ""
    says = f"{explanation.label}, probability {explanation.probability:.2f}"
    axes.set_title(_plain(f"{explanation.system}{how}\n{says}"), fontsize=10)
    if explanation.heatmap is not None:
        _draw_heat(axes, _smaller(explanation.heatmap, scale), extent, explanation.method)
    elif explanation.blobs:
        _fill_blobs(axes, explanation.blobs)
    _draw_blobs(axes, explanation.blobs, width, height)
    if explanation.notes:
        said = _plain("\n".join(_wrapped(explanation)))
        axes.text(0.5, -0.015, said, transform=axes.transAxes, ha="center", va="top", fontsize=7.5)


def _wrapped(explanation: Explanation) -> list[str]:
    return [line for note in explanation.notes for line in textwrap.wrap(note, _NOTE_CHARS)]


def _draw_heat(axes: Any, heat: NDArray[np.float32], extent: tuple[int, ...], method: str) -> None:
    """Lay the heatmap over the image, the more opaque the hotter, and draw its colour bar."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    colours = colormaps[_HEAT](np.linspace(0, 1, 256))
    shares = heat / heat.max() if heat.any() else heat
    layer = colours[np.rint(255 * shares).astype(int)]
    layer[..., 3] = _OPAQUE * np.minimum(2 * shares, 1)
    axes.imshow(layer, extent=extent, interpolation="bilinear")
    _draw_bar(axes, ScalarMappable(cmap=ListedColormap(colours)), f"{method}, share of its largest value")


def _fill_blobs(axes: Any, blobs: Sequence[BlobShare]) -> None:
    """Colour blobs by their contribution where there is nothing finer, and draw the colour bar of that."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    largest = max(abs(blob.contribution) for blob in blobs) or 1.0
    colours = LinearSegmentedColormap.from_list("for and against", [_AGAINST, _MIDDLE, _FOR])
    scale: Any = ScalarMappable(Normalize(-largest, largest), colours)
    for blob in blobs:
        for curve in blob.outline:
            axes.fill(*_closed(curve).T, color=scale.to_rgba(blob.contribution), alpha=0.5, linewidth=0)
    _draw_bar(axes, scale, "contribution to the class's log-odds")


def _draw_blobs(axes: Any, blobs: Sequence[BlobShare], width: int, height: int) -> None:
    """Draw outlines, and contributions where they hide no other one: above a blob, else below it."""
    taken: list[tuple[float, float]] = []
    for blob in blobs:
        colour = _FOR if blob.contribution >= 0 else _AGAINST
        for curve in blob.outline:
            axes.plot(*_closed(curve).T, color="white", linewidth=2.6)
            axes.plot(*_closed(curve).T, color=colour, linewidth=1.4)
        x, y = _free_place(blob, taken, width, height)
        taken.append((x, y))
        box = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.6, "pad": 1.5}
        said = f"{round(blob.contribution, 2) + 0.0:+.2f}"  # no -0.00
        axes.text(x, y, said, ha="center", va="center", fontsize=8, color="white", bbox=box, zorder=5)


def _free_place(blob: BlobShare, taken: Sequence[tuple[float, float]], width: int, height: int) -> tuple[float, float]:
    """Choose the middle of a label, which is about a twelfth of the image wide and a thirtieth of its width high."""
    wide, high = width / 12, width / 30
    places = []
    points = np.concatenate(blob.outline) if blob.outline else np.reshape(blob.box, (2, 2))
    for end, step in ((points[:, 1].argmin(), -high), (points[:, 1].argmax(), high)):
        x, y = points[end]
        for times in (0.6, 1.6):
            place = min(max(x, wide / 2), width - wide / 2), min(max(y + times * step, high / 2), height - high / 2)
            places.append((float(place[0]), float(place[1])))
    return next((p for p in places if not any(_near(p, other, wide, high) for other in taken)), places[0])


def _near(a: tuple[float, float], b: tuple[float, float], wide: float, high: float) -> bool:
    return abs(a[0] - b[0]) < wide and abs(a[1] - b[1]) < high


def _draw_bar(axes: Any, scale: Any, label: str) -> None:
    """Draw a colour bar as high as the image."""
    bar = axes.figure.colorbar(scale, cax=axes.inset_axes([1.02, 0, 0.03, 1]))
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _closed(curve: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the curve with its first point again, through the middles of pixels."""
    return np.concatenate([curve, curve[:1]]) + 0.5


def _smaller(picture: Any, scale: float) -> Any:
    if scale >= 1:
        return picture
    height, width = picture.shape[:2]
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # which would begin a formula
